"""Records out: one idempotent producer a process, acknowledged by all replicas."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, Final, NamedTuple

from confluent_kafka import Message, Producer

from scorestream.errors import KafkaError
from scorestream.io.kafka.connection import MAX_MESSAGE_BYTES, failures

PRODUCER_OPTIONS: Final = {
    "enable.idempotence": True,
    "acks": "all",
    "compression.type": "lz4",
    "linger.ms": 5,
    "message.max.bytes": MAX_MESSAGE_BYTES,
}

# Delivery reports are asked for after so many records, and when the queue is full.
REPORTS_EVERY: Final = 100


class Record(NamedTuple):
    """A record to produce; `timestamp` in unix milliseconds, None for now."""

    key: bytes | None
    value: bytes | None
    timestamp: int | None = None
    headers: tuple[tuple[str, bytes], ...] = ()


def produce(topic: str, records: Iterable[Record], options: Mapping[str, Any]) -> int:
    """Produce records, and wait until all are acknowledged; returns how many.

    Raises:
        KafkaError: a record was refused; those after it may not have been sent.
    """
    producer = _producer(tuple(sorted(options.items())))
    refused: list[str] = []

    def note(error: Any, _: Message) -> None:
        if error is not None:
            refused.append(str(error))

    count = 0
    with failures(f"records cannot be sent to {topic}"):
        for record in records:
            _send(producer, topic, record, note)
            count += 1
            if count % REPORTS_EVERY == 0:
                producer.poll(0)
            if refused:
                break
        producer.flush()
    if refused:
        raise KafkaError(f"{len(refused)} records refused by {topic}: {refused[0]}")
    return count


@cache
def _producer(options: tuple[tuple[str, Any], ...]) -> Producer:
    # Connecting costs more than a small micro-batch; Spark keeps its Python workers, so do we.
    return Producer(dict(options) | PRODUCER_OPTIONS)


def _send(producer: Producer, topic: str, record: Record, callback: Any) -> None:
    # librdkafka takes 0 for now, which is no moment that a message could be about.
    timestamp = record.timestamp or 0
    headers: list[tuple[str, str | bytes | None]] = list(record.headers)
    while True:
        try:
            producer.produce(
                topic,
                record.value,
                record.key,
                timestamp=timestamp,
                headers=headers,
                on_delivery=callback,
            )
        except BufferError:
            producer.poll(0.5)
            continue
        return
