"""From the record's timestamp to the consumer's receipt, with the job as a process under load."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from confluent_kafka import Consumer, Message, Producer, TopicPartition

from scorestream.infra.config.settings import PROJECT_ROOT, Settings
from scorestream.infra.kafka.connection import client_options
from scorestream.infra.kafka.producer import PRODUCER_OPTIONS, Record
from tools.benchmarks.machine import (
    Site,
    environment_of,
    fill,
    resident_megabytes,
)

PARTITIONS = 4
ANSWER_SECONDS = 120.0
WARM_SECONDS = 12.0


@dataclass(frozen=True)
class Latency:
    """Seconds from the record's timestamp to the receipt of its score.

    Attributes:
        offered: messages a minute that were sent.
        count: scores that the figures are over.
        memory: megabytes of the JVM and of all Python processes of the job.
    """

    offered: float
    count: int
    mean: float
    p50: float
    p95: float
    p99: float
    longest: float
    memory: dict[str, float]


def measure(
    site: Site,
    records: Sequence[Record],
    a_minute: float,
    seconds: float,
    *,
    include_transactions: bool,
) -> Latency:
    """Send records at a steady rate for some time, and time every score's way.

    Args:
        site: the broker, and a folder.
        records: sent again and again.
        a_minute: messages a minute.
        seconds: how long, after a warm-up at the same rate.
        include_transactions: whether the job keeps the history table.
    """
    settings = site.settings(include_transactions=include_transactions)
    fill(settings, [], PARTITIONS)
    consumer = _reader(settings)
    with _job(settings) as pid:
        _pump(settings, consumer, records, a_minute, seconds=WARM_SECONDS)
        receipts = _pump(settings, consumer, records, a_minute, seconds=seconds)
        memory = resident_megabytes(pid)
    consumer.close()
    waits = np.array([receipt - sent for sent, receipt in receipts])
    p50, p95, p99 = np.percentile(waits, [50, 95, 99])
    return Latency(
        offered=a_minute,
        count=len(waits),
        mean=float(waits.mean()),
        p50=float(p50),
        p95=float(p95),
        p99=float(p99),
        longest=float(waits.max()),
        memory=memory,
    )


@contextmanager
def _job(settings: Settings) -> Iterator[int]:
    """The stream as a process of its own, started by spark-submit.sh and stopped in peace."""
    process = subprocess.Popen(
        [str(PROJECT_ROOT / "spark-submit.sh"), "stream_scores"],
        env=environment_of(settings) | {"SPARK_SUBMIT_ARGS": "--conf spark.ui.enabled=false"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process.pid
    finally:
        process.terminate()
        process.wait(timeout=ANSWER_SECONDS)


def _pump(
    settings: Settings,
    consumer: Consumer,
    records: Sequence[Record],
    a_minute: float,
    *,
    seconds: float,
) -> list[tuple[float, float]]:
    """Send for some time; the moments of sending and of receipt of all that was sent."""
    count = max(1, round(a_minute / 60 * seconds))
    sent: dict[str, float] = {}
    sender = threading.Thread(
        target=_send, args=(settings, records, count, a_minute / 60), kwargs={"sent": sent}
    )
    sender.start()
    received: dict[str, float] = {}
    deadline = time.time() + seconds + ANSWER_SECONDS
    while len(received) < count:
        if time.time() > deadline:
            raise TimeoutError(f"{len(received)} of {count} scores came")
        for message in consumer.consume(1000, 0.01):
            headers: dict[str, Any] = dict(message.headers() or [])
            received[headers["source"].decode()] = time.time()
    sender.join()
    return [(sent[source], receipt) for source, receipt in received.items()]


def _reader(settings: Settings) -> Consumer:
    """A consumer of the whole success topic."""
    options = {"group.id": "latency", "enable.auto.commit": False, "fetch.wait.max.ms": 5}
    consumer = Consumer(client_options(settings) | options)
    topic = settings.kafka_success_topic
    consumer.assign([TopicPartition(topic, p, 0) for p in range(PARTITIONS)])
    return consumer


def _send(
    settings: Settings,
    records: Sequence[Record],
    count: int,
    a_second: float,
    *,
    sent: dict[str, float],
) -> None:
    """Send at a steady rate, and note each record's timestamp by its source."""
    producer = Producer(client_options(settings) | PRODUCER_OPTIONS | {"linger.ms": 2})
    topic = settings.kafka_input_topic

    def note(error: object, message: Message) -> None:
        if error is None:
            source = f"{topic}/{message.partition()}/{message.offset()}"
            sent[source] = message.timestamp()[1] / 1000

    started = time.time()
    for number in range(count):
        ahead = started + number / a_second - time.time()
        if ahead > 0:
            producer.poll(ahead)
        record = records[number % len(records)]
        moment = round(time.time() * 1000)
        producer.produce(topic, record.value, record.key, timestamp=moment, on_delivery=note)
    producer.flush()
