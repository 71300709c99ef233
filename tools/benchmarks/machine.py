"""What a measurement runs on: a broker, topics filled with the workload, settings, processes."""

from __future__ import annotations

import os
import pickle
import statistics
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

import psutil
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from scorestream.infra.config.settings import Settings
from scorestream.infra.kafka.cluster import NEW_TOPIC_CONFIG, KafkaCluster
from scorestream.infra.kafka.connection import client_options
from scorestream.infra.kafka.producer import Record
from tools.benchmarks.workload import Workload
from tools.local.samples import sample_records

MEGABYTE = 1e6


@dataclass(frozen=True)
class Site:
    """Where a benchmark works: a folder of its own, and a broker."""

    folder: Path
    bootstrap_servers: str

    def settings(self, *, include_transactions: bool) -> Settings:
        """Settings over fresh topics and a fresh warehouse."""
        name = uuid.uuid4().hex[:8]
        return Settings(
            kafka_bootstrap_servers=self.bootstrap_servers,
            kafka_input_topic=f"in-{name}",
            kafka_success_topic=f"success-{name}",
            kafka_failure_topic=f"failure-{name}",
            kafka_consumer_group="benchmark",
            scorestream_warehouse=str(self.folder / name),
            scorestream_transactions="on" if include_transactions else "off",
            metrics_port=0,
        )

    def records(self, workload: Workload) -> list[Record]:
        """The workload's records, generated once a machine folder."""
        path = self.folder / f"{uuid.uuid5(uuid.NAMESPACE_OID, repr(workload))}.pickle"
        if not path.exists():
            path.write_bytes(pickle.dumps(workload.records()))
        records: list[Record] = pickle.loads(path.read_bytes())  # noqa: S301  our own file
        return records

    def real_records(self, count: int) -> list[Record]:
        """The real swaps of `samples/`, again and again."""
        swaps = list(sample_records(["dex_wallets_2021.jsonl.gz"]))
        return list(islice(cycle(swaps), count))

    def lines(self, workload: Workload) -> Path:
        """The workload as JSON lines."""
        path = self.folder / f"{uuid.uuid5(uuid.NAMESPACE_OID, repr(workload))}.jsonl"
        if not path.exists():
            values = [record.value or b"" for record in self.records(workload)]
            path.write_bytes(b"\n".join(values) + b"\n")
        return path


def fill(settings: Settings, records: Sequence[Record], partitions: int) -> None:
    """Create the topics, and fill the input topic evenly."""
    admin = AdminClient(client_options(settings))
    topics = [
        NewTopic(topic, partitions, config=dict(NEW_TOPIC_CONFIG))
        for topic in (
            settings.kafka_input_topic,
            settings.kafka_success_topic,
            settings.kafka_failure_topic,
        )
    ]
    for created in admin.create_topics(topics).values():
        created.result(timeout=15)
    KafkaCluster(settings).produce(settings.kafka_input_topic, records)


def environment_of(settings: Settings) -> dict[str, str]:
    """The settings as environment variables of a process."""
    values = settings.model_dump(exclude_defaults=True, exclude_none=True)
    return os.environ | {name.upper(): str(value) for name, value in values.items()}


def size_of(records: Sequence[Record]) -> float:
    """Megabytes of all values."""
    return sum(len(record.value or b"") for record in records) / MEGABYTE


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def resident_megabytes(pid: int) -> dict[str, float]:
    """Resident memory of a process and its children: JVMs, and everything else together."""
    megabytes = {"jvm": 0.0, "python": 0.0}
    root = psutil.Process(pid)
    for process in [root, *root.children(recursive=True)]:
        try:
            kind = "jvm" if "java" in process.name() else "python"
            megabytes[kind] += process.memory_info().rss / MEGABYTE
        except psutil.NoSuchProcess:
            continue
    return megabytes
