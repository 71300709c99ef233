"""The checkpoint folder, and what Scorestream keeps in it beside Spark's own files."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from pydantic import ValidationError
from pyspark.sql import SparkSession

from scorestream.infra.config.frozen_model import FrozenModel
from scorestream.infra.delivery.coverage import Span, Spans
from scorestream.infra.errors import CheckpointError, ScorestreamError
from scorestream.infra.spark.compat import HadoopFileError, HadoopFolder

STATE_FILE: Final = "scorestream.json"
GENERATION_FILE: Final = "scorestream-generation.json"
METADATA_FILE: Final = "metadata"
# Logs of Spark: offsets of each batch that was planned, and which of them are done.
OFFSETS: Final = "offsets"
COMMITS: Final = "commits"
# The newest planned batch may have to be repeated, from where the one before it ended.
_OFFSETS_READ: Final = 2
_FIRST_OFFSETS: Final = "sources/0/0"
_ADVICE: Final = "use a new --checkpoint: it starts after what the warehouse holds"


class StreamState(FrozenModel):
    """What a checkpoint was started for; written once, when it is new.

    Attributes:
        topic: the input topic.
        topic_id: the cluster's id of it, which changes when the topic is recreated.
        start: where earlier versions began, like `held`; nothing goes by them any more.
        tables: the ids of the tables by name; empty for one of an earlier version.
    """

    topic: str
    topic_id: str
    start: Mapping[int, int] = {}
    held: Mapping[int, int] = {}
    tables: Mapping[str, str] = {}


class Progress(NamedTuple):
    """How far a checkpoint says that its query has come.

    Attributes:
        run_id: the query's id.
        planned: the newest batch that was planned; -1: none.
        done: the newest batch that was delivered; -1: none.
    """

    run_id: str
    planned: int
    done: int


class Checkpoint:
    """Files of a checkpoint folder, on any file system that Spark reaches."""

    def __init__(self, spark: SparkSession, location: str) -> None:
        self.spark = spark
        self._files = HadoopFolder(spark, location)
        self.location = location

    def is_new(self) -> bool:
        """Whether no query has ever planned a batch with it."""
        return not self._files.exists(OFFSETS)

    def read_state(self) -> StreamState | None:
        """What the checkpoint was started for; None if it is new.

        Raises:
            CheckpointError: the checkpoint is another program's, or its state is damaged.
        """
        if not self._files.exists(STATE_FILE):
            if self.is_new():
                return None
            raise CheckpointError(
                f"checkpoint {self.location} holds batches but no {STATE_FILE}: it is another "
                f"program's, or damaged; {_ADVICE}"
            )
        try:
            return StreamState.model_validate_json(self._text(STATE_FILE))
        except ValidationError:
            if self.is_new():
                # A start that was cut off while it wrote this.
                return None
            raise self._damaged(STATE_FILE) from None

    def progress(self) -> Progress | None:
        """How far the query has come; None if it has planned nothing yet.

        1. Read the query's id.
        2. Find the newest batches, planned and done.
        3. Check the files that Spark will read of them, which a loss of power may have cut off.

        Raises:
            CheckpointError: one of these files is damaged, or lacks.
        """
        if self.is_new() and not self._files.exists(METADATA_FILE):
            return None
        # 1. Read the query's id.
        run_id = str(self._mapping(METADATA_FILE, self._text(METADATA_FILE)).get("id"))
        # 2. Find the newest batches.
        planned, done = self._newest(OFFSETS), self._newest(COMMITS)
        # 3. Check their files.
        newest = max(planned, done)
        for number in range(max(0, newest - _OFFSETS_READ + 1), newest + 1):
            self._refuse_damaged(f"{OFFSETS}/{number}", lines=2)
        if done >= 0:
            self._refuse_damaged(f"{COMMITS}/{done}", lines=1)
        if self._files.exists(_FIRST_OFFSETS):
            self._refuse_damaged(_FIRST_OFFSETS, lines=1)
        return Progress(run_id, planned, done)

    def next_offsets(self, topic: str) -> dict[int, int]:
        """Where the newest planned batch ends, by partition; empty if none was planned."""
        newest = self._newest(OFFSETS)
        return self._offsets(f"{OFFSETS}/{newest}", topic) if newest >= 0 else {}

    def write_state(self, state: StreamState) -> None:
        """Keep what the checkpoint is started for."""
        self._write(STATE_FILE, state.model_dump())

    def generation(self) -> int | None:
        """Which pass over the topic it is of; None: a checkpoint of an earlier version."""
        if not self._files.exists(GENERATION_FILE):
            return None
        try:
            return int(json.loads(self._text(GENERATION_FILE))["generation"])
        except (ValueError, KeyError, TypeError):
            # A start that was cut off while it wrote this.
            return None

    def write_generation(self, generation: int) -> None:
        """Keep which pass over the topic it is of, where earlier versions do not look."""
        self._write(GENERATION_FILE, {"generation": generation})

    def proven(self, topic: str, done: int) -> Spans:
        """The offsets of all batches up to one that is done, by partition.

        Raises:
            CheckpointError: a file is damaged, or lacks.
        """
        if done < 0:
            return {}
        ends = self._offsets(f"{OFFSETS}/{done}", topic)
        first = self._offsets(_FIRST_OFFSETS, topic)
        # A partition that came later is read from its first offset on.
        return {p: Span(min(first.get(p, 0), end), end) for p, end in ends.items()}

    def _offsets(self, name: str, topic: str) -> dict[int, int]:
        """The offsets of a topic in a file of Spark's, whose last line has them."""
        found = self._mapping(name, self._text(name).splitlines()[-1]).get(topic, {})
        return {int(partition): int(offset) for partition, offset in found.items()}

    def _write(self, name: str, content: dict[str, Any]) -> None:
        self._files.write(name, json.dumps(content).encode())

    def _newest(self, log: str) -> int:
        """The greatest number of a file in one of Spark's logs; -1: there is none."""
        numbers = (int(name) for name in self._files.names(log) if name.isdecimal())
        return max(numbers, default=-1)

    def _refuse_damaged(self, name: str, lines: int) -> None:
        """Refuse a file of Spark's that is not a version, and so many lines of JSON."""
        # Its first file of a Kafka source begins with a zero byte, for versions long past.
        version, *rest = self._text(name).removeprefix("\0").splitlines() or [""]
        if not re.fullmatch(r"v\d+", version) or len(rest) < lines:
            raise self._damaged(name)
        for line in rest:
            self._mapping(name, line)

    def _mapping(self, name: str, text: str) -> dict[str, Any]:
        try:
            parsed = json.loads(text)
        except ValueError:
            raise self._damaged(name) from None
        if not isinstance(parsed, dict):
            raise self._damaged(name)
        return parsed

    def _text(self, name: str) -> str:
        """What a file holds; checked by its checksum where the file system keeps one."""
        try:
            return self._files.read(name)
        except HadoopFileError as error:
            if error.is_damaged:
                raise self._damaged(name) from None
            # A store that does not answer now may do so at the next start.
            raise ScorestreamError(f"{self.location}/{name} cannot be read: {error}") from None

    def _damaged(self, name: str) -> CheckpointError:
        return CheckpointError(
            f"{self.location}/{name} is damaged or lacks, as after a loss of power; {_ADVICE}"
        )
