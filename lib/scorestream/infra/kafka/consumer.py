"""The consumer: tasks fetch the offset ranges that the driver planned, by librdkafka.

Spark's own Kafka source plans the offsets of each micro-batch, keeps them in the checkpoint and
refuses lost ones; its records never pass through the JVM (docs/decisions/0008-plumbing.md).
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from confluent_kafka import Consumer, Message, TopicPartition
from confluent_kafka import KafkaError as Errors

from scorestream.infra.config.settings import Settings
from scorestream.infra.errors import KafkaError, OffsetsGoneError
from scorestream.infra.kafka.connection import (
    ANSWER_SECONDS,
    MAX_MESSAGE_BYTES,
    spark_options,
    wrap_failures,
)
from scorestream.infra.kafka.headers import read_attempt, read_headers
from scorestream.infra.kafka.records import Records, same_topic

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

# A batch of messages is scored as soon as it has so many bytes; a single one may be larger.
BATCH_BYTES: Final = 8 * 1024 * 1024
# A task of fewer records would cost more to start than it saves; and it writes a file a table.
RECORDS_PER_TASK: Final = 1000
# What a task has done is lost with it; it fetches up to 10,000 more than it needs.
MAX_RECORDS_PER_TASK: Final = 50_000
MESSAGES_PER_CALL: Final = 200
CALL_SECONDS: Final = 0.1
# How librdkafka says that the broker does not have an offset.
_OUT_OF_RANGE: Final = "Offset out of range"
CONSUMER_OPTIONS: Final = {
    "enable.auto.commit": False,
    "enable.partition.eof": True,
    # Offsets that are gone are an error, never a reason to go on elsewhere.
    "auto.offset.reset": "error",
    "fetch.message.max.bytes": 4 * 1024 * 1024,
    "receive.message.max.bytes": 2 * MAX_MESSAGE_BYTES,
    # What is fetched beyond the end of a range is fetched in vain.
    "queued.max.messages.kbytes": 32 * 1024,
    "queued.min.messages": 10_000,
    # What was planned is there: a request that waits for more only keeps the next one waiting.
    "fetch.wait.max.ms": 10,
    # A full queue is looked at again after this; the default of a second is a second of idleness.
    "fetch.queue.backoff.ms": 10,
}


@dataclass(frozen=True)
class OffsetRange:
    """Offsets of one partition, from `start` up to before `end`."""

    topic: str
    partition: int
    start: int
    end: int

    def __len__(self) -> int:
        return self.end - self.start


def read_stream(spark: SparkSession, settings: Settings, topic: str, **options: str) -> DataFrame:
    """A topic as a stream whose batches are planned, for :func:`planned_ranges`."""
    reader = spark.readStream.format("kafka").options(**spark_options(settings))
    return (
        reader.option("subscribe", topic).option("failOnDataLoss", "true").options(**options).load()
    )


def planned_ranges(batch: DataFrame) -> list[OffsetRange]:
    """The offsets that Spark's Kafka source planned for a micro-batch, empty ranges left out."""
    # What runs in other processes than Spark's needs no Spark.
    from scorestream.infra.spark.compat import planned_offsets  # noqa: PLC0415

    ranges = [OffsetRange(*planned) for planned in planned_offsets(batch)]
    return [r for r in ranges if len(r) > 0]


def task_count(records: int, cores: int) -> int:
    """How many tasks do a batch of so many records, on so many cores."""
    return max(min(cores, records // RECORDS_PER_TASK + 1), -(-records // MAX_RECORDS_PER_TASK))


def split_ranges(ranges: Sequence[OffsetRange], tasks: int) -> list[list[OffsetRange]]:
    """Cut ranges into about `tasks` lists of equal length, neighbours together."""
    total = sum(map(len, ranges))
    share = max(1, -(-total // tasks))
    pieces: list[tuple[int, OffsetRange]] = []
    before = 0
    for each in ranges:
        start = each.start
        while start < each.end:
            room = share - before % share
            end = min(each.end, start + room)
            pieces.append((before // share, replace(each, start=start, end=end)))
            before += end - start
            start = end
    return [[piece for _, piece in task] for _, task in groupby(pieces, key=lambda p: p[0])]


def fetch(ranges: Sequence[OffsetRange], options: Mapping[str, Any]) -> Iterator[Records]:
    """Fetch ranges of different partitions of one topic, in batches bounded by bytes.

    Args:
        ranges: what to fetch.
        options: of a consumer; its isolation level is the one that the ranges were planned by.

    Raises:
        KafkaError: no answer, or offsets of a range are gone.
    """
    filled = [each for each in ranges if len(each) > 0]
    if not filled:
        return
    topic = filled[0].topic
    key = tuple(sorted(options.items()))
    with wrap_failures(f"{topic} cannot be read"):
        consumer = _consumer(key)
        try:
            yield from gather_batches(_messages(consumer, filled), topic)
        except BaseException:
            # What it still has in its queues is nothing that anybody waits for.
            _consumer.cache_clear()
            consumer.close()
            raise


@cache
def _consumer(options: tuple[tuple[str, Any], ...]) -> Consumer:
    # Connecting costs more than a small micro-batch; Spark keeps its Python workers, so do we.
    return Consumer(dict(options) | CONSUMER_OPTIONS)


def _messages(consumer: Consumer, ranges: Sequence[OffsetRange]) -> Iterator[Message]:
    """The messages of all ranges, those of a partition in order."""
    open_ranges = {r.partition: r for r in ranges}
    consumer.assign([TopicPartition(r.topic, r.partition, r.start) for r in ranges])
    heard = time.monotonic()
    while open_ranges:
        # A call returns when it has as many as it was asked for, or at its timeout.
        awaited = min(MESSAGES_PER_CALL, sum(map(len, open_ranges.values())))
        got = consumer.consume(awaited, CALL_SECONDS)
        if got:
            heard = time.monotonic()
        elif time.monotonic() - heard > ANSWER_SECONDS:
            raise KafkaError(f"no answer from the broker for {[*open_ranges.values()]}")
        for message in got:
            current = open_ranges.get(message.partition() or 0)
            if current is not None and message.topic() == current.topic:
                yield from _advance(consumer, message, current, open_ranges)


def _advance(
    consumer: Consumer, message: Message, current: OffsetRange, open_ranges: dict[int, OffsetRange]
) -> Iterator[Message]:
    """Yield the message if it is of the range, and note how far the range has got."""
    error, offset = message.error(), message.offset() or 0
    at_end = error is not None and error.code() == Errors._PARTITION_EOF
    if error is not None and not at_end:
        kind = OffsetsGoneError if _OUT_OF_RANGE in error.str() else KafkaError
        raise kind(f"{current} cannot be read: {error.str()}")
    # What the consumer still had of a task before is not meant; nor is the partition read to its
    # end where a broker, just started, does not know all of it yet.
    if offset < (current.end if at_end else current.start):
        return
    if offset > current.start:
        _refuse_lost(consumer, current, min(offset, current.end))
    if not at_end and offset < current.end:
        yield message
    if at_end or offset >= current.end - 1:
        # The last offsets may hold no records, transaction markers for instance.
        del open_ranges[current.partition]
        consumer.incremental_unassign([TopicPartition(current.topic, current.partition)])
    else:
        open_ranges[current.partition] = replace(current, start=offset + 1)


def _refuse_lost(consumer: Consumer, current: OffsetRange, offset: int) -> None:
    """Offsets may be skipped that hold no record for us, but none that aged out.

    Markers and aborted records of transactions leave gaps, and so does compaction: thousands in a
    range. Every fetched response says where the log begins, which the client remembers: nothing
    is asked for here. A position that is below it has been refused by the broker before.
    """
    where = TopicPartition(current.topic, current.partition)
    low, _ = consumer.get_watermark_offsets(where, cached=True)
    if low > current.start:
        raise OffsetsGoneError(
            f"offsets {current.start} to {min(low, offset) - 1} of {current.topic} partition "
            f"{current.partition} are gone"
        )


class _Message(NamedTuple):
    """The used parts of a message, without its headers, which may be megabytes."""

    partition: int
    offset: int
    timestamp: int
    attempt: int
    key: bytes | None
    value: bytes | None


def gather_batches(messages: Iterable[Message], topic: str) -> Iterator[Records]:
    """Gather messages of a topic into batches of limited bytes."""
    batch: list[_Message] = []
    size = 0
    for message in map(_copy_message, messages):
        batch.append(message)
        size += len(message.key or b"") + len(message.value or b"")
        if size >= BATCH_BYTES:
            yield _records(batch, topic)
            batch, size = [], 0
    if batch:
        yield _records(batch, topic)


def _copy_message(message: Message) -> _Message:
    return _Message(
        message.partition() or 0,
        message.offset() or 0,
        message.timestamp()[1],
        read_attempt(read_headers(message)),
        message.key(),
        message.value(),
    )


def _records(messages: Sequence[_Message], topic: str) -> Records:
    return Records(
        topics=same_topic(topic, len(messages)),
        partitions=np.array([m.partition for m in messages], dtype=np.int32),
        offsets=np.array([m.offset for m in messages], dtype=np.int64),
        timestamps=np.array([m.timestamp for m in messages], dtype=np.int64),
        attempts=np.array([m.attempt for m in messages], dtype=np.int32),
        keys=[m.key for m in messages],
        values=[m.value for m in messages],
    )
