"""The product as a user runs it: its commands, its topics, its warehouse."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from confluent_kafka.admin import AdminClient
from deltalake import DeltaTable

from scorestream.infra.config.settings import PROJECT_ROOT, Settings
from scorestream.infra.delta.table_features import arrow_dataset
from scorestream.infra.errors import LostOffsetsError
from scorestream.infra.kafka.cluster import KafkaCluster
from scorestream.infra.kafka.connection import client_options
from scorestream.infra.kafka.producer import Record

JOB_SECONDS = 240
# Jobs are short here: the JVM's second compiler would cost more than it saves, a third of all time.
QUICK_START = "--driver-java-options -XX:TieredStopAtLevel=1"


@dataclass(frozen=True)
class Published:
    """A message that the job published."""

    key: bytes | None
    headers: dict[str, Any]
    value: dict[str, Any]


Offset = tuple[int, int]  # partition and offset


@dataclass(frozen=True)
class Input:
    """A message of the input topic; its timestamp in milliseconds."""

    key: bytes | None
    value: bytes | None
    timestamp: int

    @property
    def moment(self) -> tuple[bytes | None, int]:
        """Its value and timestamp, by which it has one result."""
        return self.value, self.timestamp


@dataclass
class Installation:
    """Topics and a warehouse of one test, and the commands over them."""

    folder: Path
    bootstrap_servers: str
    security: dict[str, str] = field(default_factory=dict)
    name: str = field(default_factory=lambda: uuid.uuid4().hex[:8])
    # Where the warehouse is, if it is elsewhere than in the folder.
    store: str = ""
    # What topics cannot tell any more, where records of them were removed on purpose.
    known_offsets: set[Offset] | None = None
    removed_messages: dict[str, list[Published]] = field(default_factory=dict)
    # Where scores went besides, while `KAFKA_SUCCESS_TOPIC` was another.
    other_success_topics: list[str] = field(default_factory=list)
    _inputs: dict[Offset, Input] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        return {
            "KAFKA_BOOTSTRAP_SERVERS": self.bootstrap_servers,
            "KAFKA_INPUT_TOPIC": f"in-{self.name}",
            "KAFKA_SUCCESS_TOPIC": f"success-{self.name}",
            "KAFKA_FAILURE_TOPIC": f"failure-{self.name}",
            "KAFKA_CONSUMER_GROUP": f"group-{self.name}",
            "SCORESTREAM_WAREHOUSE": f"{self.store or self.folder}/warehouse",
            "METRICS_PORT": "0",
            "SPARK_SUBMIT_ARGS": f"--conf spark.ui.enabled=false {QUICK_START}",
        } | self.security

    @cached_property
    def settings(self) -> Settings:
        return Settings.model_validate({k.lower(): v for k, v in self.environment.items()})

    @property
    def cluster(self) -> KafkaCluster:
        return KafkaCluster(self.settings)

    @property
    def input_topic(self) -> str:
        return self.settings.kafka_input_topic

    def publish(self, records: list[Record]) -> None:
        self.cluster.ensure_topics()
        self.cluster.produce(self.input_topic, records)

    def delete_topic(self, topic: str) -> None:
        admin = AdminClient(client_options(self.settings))
        admin.delete_topics([topic])[topic].result(timeout=15)
        wait_until(lambda: topic not in admin.list_topics(timeout=15).topics)

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """Start `./spark-submit.sh` in a process group of its own."""
        return subprocess.Popen(
            [str(PROJECT_ROOT / "spark-submit.sh"), *arguments],
            env=os.environ | self.environment | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *arguments: str, **environment: str) -> tuple[int, str, str]:
        """Run a job to its end: exit code, stdout, stderr."""
        process = self.start(*arguments, **environment)
        try:
            out, err = process.communicate(timeout=JOB_SECONDS)
        finally:
            kill_group(process)
        return process.returncode, out, err

    def drain(self, *arguments: str) -> str:
        """Run the stream until it has drained; its stderr."""
        code, _, err = self.run("stream_scores", "--available-now", *arguments)
        assert code == 0, err[-4000:]
        return err

    def rows(self, table: str) -> list[dict[str, Any]]:
        """All rows of a table, read without Spark."""
        path = f"{self.settings.warehouse}/{table}"
        rows: list[dict[str, Any]] = arrow_dataset(DeltaTable(path)).to_table().to_pylist()
        return rows

    def messages(self, topic: str) -> list[Published]:
        """All messages of a topic, those that were removed first."""
        there = [
            Published(m.key(), dict(m.headers() or []), json.loads(m.value() or b"null"))
            for m in self.cluster.consume(topic, None, self.cluster.end_offsets(topic))
        ]
        return [*self.removed_messages.get(topic, []), *there]

    def offsets(self) -> set[Offset]:
        """Every offset of the input topic; as known, where records of it were removed."""
        if self.known_offsets is not None:
            return self.known_offsets
        ends = self.cluster.end_offsets(self.input_topic)
        self._read_inputs(ends)
        return {(p, offset) for p, end in ends.items() for offset in range(end)}

    def inputs(self) -> dict[Offset, Input]:
        """The messages of the input topic, those among them that were removed since a look."""
        # Deleted, it has nothing more to say.
        with contextlib.suppress(LostOffsetsError):
            self._read_inputs(self.cluster.end_offsets(self.input_topic))
        return self._inputs

    def _read_inputs(self, ends: dict[int, int]) -> None:
        """Take up what is new; an offset that is known keeps its message."""
        ends = {p: end for p, end in ends.items() if (p, end - 1) not in self._inputs}
        same = {message.value: message.value for message in self._inputs.values()}
        for m in self.cluster.consume(self.input_topic, None, ends):
            value = same.setdefault(m.value(), m.value())
            record = Input(m.key(), value, m.timestamp()[1])
            self._inputs.setdefault((m.partition() or 0, m.offset() or 0), record)


def offsets_of(rows: list[dict[str, Any]]) -> list[Offset]:
    return [(row["source_partition"], row["source_offset"]) for row in rows]


def has_rows(installation: Installation) -> bool:
    try:
        return bool(installation.rows("scores"))
    except Exception:  # noqa: BLE001  the table may not be there yet, or be half made
        return False


def kill_group(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def wait_until(condition: Callable[[], bool], seconds: float = JOB_SECONDS) -> None:
    """Wait for a condition; fail when it does not come."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come in time"
        time.sleep(0.2)
