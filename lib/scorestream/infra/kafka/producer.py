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
# Where a request fails and the next one succeeds, librdkafka takes the first for written: an error
# that said nothing of it, on a server that had just got the partition, once lost records so. Where
# an answer was lost and the repetition is recognised, they are there, and are sent again.
_UNPROVEN: Final = "acknowledged without an offset, so that nobody knows whether they are there"
_REASONS: Final = {
    Errors._MSG_TIMED_OUT: "no acknowledgement within KAFKA_DELIVERY_TIMEOUT_MS",
    Errors._UNKNOWN_TOPIC: _NO_TOPIC,
    Errors._UNKNOWN_PARTITION: _NO_TOPIC,
    Errors.UNKNOWN_TOPIC_OR_PART: _NO_TOPIC,
    # Seen as a topic was deleted; librdkafka says only that a handle of its own was destroyed.
    Errors._DESTROY: "a server has left the cluster, or the topic was deleted",
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
        KafkaError: a record was refused, or may not be there; those after it may not have been
            sent.
    """
    refused = FailedRecords()
    count = _produce(topic, records, options, refused)
    if refused.too_large:
        alone, refused = refused.too_large, FailedRecords()
        _produce(topic, alone, {**options, **ALONE}, refused)
    if refused.too_large:
        largest = max(len(record.value or b"") for record in refused.too_large)
        raise TooLargeError(
            f"{len(refused.too_large)} records are larger than {topic} takes, one of them of "
            f"{largest} bytes: raise its max.message.bytes"
        )
    return count


class FailedRecords:
    """The records that were not delivered, or may not have been, from delivery reports."""

    def __init__(self) -> None:
        self.too_large: list[Record] = []
        self._reasons: list[str] = []

    def __bool__(self) -> bool:
        """Whether any failed by another cause than its size."""
        return bool(self._reasons)

    def note(self, record: Record, error: Errors | None, report: Message) -> None:
        """Take up the delivery report of a record."""
        if error is None:
            if report.offset() is None:
                self._reasons.append(_UNPROVEN)
        elif error.code() == Errors.MSG_SIZE_TOO_LARGE:
            self.too_large.append(record)
        else:
            self._reasons.append(_REASONS.get(error.code(), error.str()))

    def refuse(self, topic: str) -> None:
        """Raise the first failure, if there is one."""
        if self._reasons:
            raise KafkaError(f"{len(self._reasons)} records refused by {topic}: {self._reasons[0]}")


def _produce(
    topic: str, records: Iterable[Record], options: Mapping[str, Any], refused: FailedRecords
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
                if refused:
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
