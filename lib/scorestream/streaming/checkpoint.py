"""The checkpoint folder, and what Scorestream keeps in it beside Spark's own files."""

from __future__ import annotations

import json
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, ValidationError
from pyspark.sql import SparkSession

from scorestream.errors import CheckpointError

STATE_FILE: Final = "scorestream.json"


class StreamState(BaseModel):
    """What a checkpoint was started for; written once, when it is new.

    Attributes:
        topic: the input topic.
        topic_id: the cluster's id of it, which changes when the topic is recreated.
        start: first offset of each partition, empty for all there is or only what is new.
        held: last offset of each partition that the warehouse held already at the start;
            between `start` and `held` some offsets may lack, and are the only ones to score.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    topic: str
    topic_id: str
    start: dict[int, int] = {}
    held: dict[int, int] = {}


class Checkpoint:
    """Files of a checkpoint folder, on any file system that Spark reaches."""

    def __init__(self, spark: SparkSession, location: str) -> None:
        jvm: Any = spark._jvm
        self._jvm = jvm
        path = self._hadoop_path(location)
        self._files = path.getFileSystem(spark._jsparkSession.sessionState().newHadoopConf())
        self.location = location

    def is_new(self) -> bool:
        """Whether no query has ever planned a batch with it."""
        return not self._files.exists(self._path("offsets"))

    def read_state(self) -> StreamState | None:
        """What the checkpoint was started for; None if it is new.

        Raises:
            CheckpointError: the checkpoint is another program's, or its state is damaged.
        """
        path = self._path(STATE_FILE)
        if not self._files.exists(path):
            if self.is_new():
                return None
            raise CheckpointError(
                f"checkpoint {self.location} holds batches but no {STATE_FILE}: it is another "
                "program's, or damaged; use a new one (it starts after what the warehouse holds)"
            )
        stream = self._files.open(path)
        try:
            text = self._jvm.org.apache.commons.io.IOUtils.toString(stream, "UTF-8")
        finally:
            stream.close()
        try:
            return StreamState.model_validate_json(text)
        except ValidationError as error:
            raise CheckpointError(f"{path} is damaged: {error}") from None

    def write_state(self, state: StreamState) -> None:
        """Keep what the checkpoint is started for."""
        stream = self._files.create(self._path(STATE_FILE), True)
        try:
            stream.write(bytearray(json.dumps(state.model_dump()).encode()))
        finally:
            stream.close()

    def _path(self, name: str) -> Any:
        return self._hadoop_path(self.location, name)

    def _hadoop_path(self, *parts: str) -> Any:
        return self._jvm.org.apache.hadoop.fs.Path(*parts)
