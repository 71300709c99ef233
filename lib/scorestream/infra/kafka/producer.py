"""The producer: one idempotent producer per process, acknowledged by all replicas."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache, partial
from typing import Any, Final, NamedTuple

from confluent_kafka import KafkaError as Errors
from confluent_kafka import Message, Producer

from scorestream.infra.errors import KafkaError, TooLargeError
from scorestream.infra.kafka.connection import MAX_MESSAGE_BYTES, UNKNOWN_SECONDS, wrap_failures

PRODUCER_OPTIONS: Final = {
    "enable.idempotence": True,
    "acks": "all",
    "compression.type": "lz4",
    "linger.ms": 5,
    "message.max.bytes": MAX_MESSAGE_BYTES,
    "topic.metadata.propagation.max.ms": int(UNKNOWN_SECONDS * 1000),
}
# A topic's limit is one of whole batches: each record goes alone where a batch was too large.
ALONE: Final = {"batch.num.messages": 1}

# Delivery reports are asked for after so many records, and when the queue is full.
REPORTS_EVERY: Final = 100
_NO_TOPIC: Final = "the topic was deleted; the next start creates it where it may"
_REASONS: Final = {
    Errors._MSG_TIMED_OUT: "no acknowledgement within KAFKA_DELIVERY_TIMEOUT_MS",
    Errors._UNKNOWN_TOPIC: _NO_TOPIC,
    Errors._UNKNOWN_PARTITION: _NO_TOPIC,
    Errors.UNKNOWN_TOPIC_OR_PART: _NO_TOPIC,
}


class Record(NamedTuple):
    """A record to produce; `timestamp` in unix milliseconds, None for now."""

    key: bytes | None
    value: bytes | None
    timestamp: int | None = None
    headers: tuple[tuple[str, bytes], ...] = ()


def produce(topic: str, records: Iterable[Record], options: Mapping[str, Any]) -> int:
    """Produce records, and wait until all are acknowledged; returns how many.

    Raises:
        TooLargeError: a record is larger than the topic takes; all others were sent.
        KafkaError: a record was refused; those after it may not have been sent.
    """
    refused = _FailedRecords()
    count = _produce(topic, records, options, refused)
    if refused.too_large:
        alone, refused = refused.too_large, _FailedRecords()
        _produce(topic, alone, {**options, **ALONE}, refused)
    if refused.too_large:
        largest = max(len(record.value or b"") for record in refused.too_large)
        raise TooLargeError(
            f"{len(refused.too_large)} records are larger than {topic} takes, one of them of "
            f"{largest} bytes: raise its max.message.bytes"
        )
    return count


class _FailedRecords:
    """The records that were not delivered, from delivery reports."""

    def __init__(self) -> None:
        self.errors: list[Errors] = []
        self.too_large: list[Record] = []

    def note(self, record: Record, error: Errors | None, _: Message) -> None:
        if error is None:
            return
        if error.code() == Errors.MSG_SIZE_TOO_LARGE:
            self.too_large.append(record)
        else:
            self.errors.append(error)

    def refuse(self, topic: str) -> None:
        if self.errors:
            first = self.errors[0]
            reason = _REASONS.get(first.code(), first.str())
            raise KafkaError(f"{len(self.errors)} records refused by {topic}: {reason}")


def _produce(
    topic: str, records: Iterable[Record], options: Mapping[str, Any], refused: _FailedRecords
) -> int:
    count = 0
    with wrap_failures(f"records cannot be sent to {topic}"):
        try:
            producer = _producer(tuple(sorted(options.items())))
            for record in records:
                _send(producer, topic, record, partial(refused.note, record))
                count += 1
                if count % REPORTS_EVERY == 0:
                    producer.poll(0)
                if refused.errors:
                    break
            producer.flush()
            refused.refuse(topic)
        except BaseException:
            # It may be at odds with the broker for good, or hold what nobody waits for.
            _producer.cache_clear()
            raise
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
