"""The Kafka cluster for the driver: topics, offsets, single records."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    ConsumerGroupTopicPartitions,
    IsolationLevel,
    KafkaException,
    Message,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka import KafkaError as Errors
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]
from confluent_kafka.cimpl import NewTopic

from scorestream.infra.config.settings import Settings
from scorestream.infra.errors import ConfigurationError, KafkaError, LostOffsetsError
from scorestream.infra.kafka.connection import (
    ANSWER_SECONDS,
    MAX_MESSAGE_BYTES,
    UNKNOWN_SECONDS,
    client_options,
    consumer_options,
    producer_options,
    retry_query,
    wrap_failures,
)
from scorestream.infra.kafka.connection_errors import ConnectionProblems
from scorestream.infra.kafka.producer import Record, produce

# Where one server refuses us, another may still answer within this.
REFUSED_SECONDS: Final = 2.0
NEW_TOPIC_PARTITIONS: Final = 4
# Record timestamps are event times: years old, or ahead of the broker's clock.
NEW_TOPIC_CONFIG: Final = {
    "retention.ms": "-1",
    # A segment spans this much record time, and event times may span years: one segment each week.
    "segment.ms": str(2**63 - 1),
    "message.timestamp.after.max.ms": str(2**63 - 1),
    "message.timestamp.before.max.ms": str(2**63 - 1),
    "max.message.bytes": str(MAX_MESSAGE_BYTES),
}

ISOLATION: Final = {
    "read_committed": IsolationLevel.READ_COMMITTED,
    "read_uncommitted": IsolationLevel.READ_UNCOMMITTED,
}

Offsets = dict[int, int]


class KafkaCluster:
    """Topics and offsets of the configured cluster."""

    def __init__(self, settings: Settings) -> None:
        """Nobody is asked yet.

        Raises:
            ConfigurationError: the client library refuses the settings.
        """
        self.settings = settings
        self._options = client_options(settings)
        self._refusals = ConnectionProblems(settings)
        with wrap_failures("Kafka's connection settings cannot be used", ConfigurationError):
            self._admin = AdminClient(self._options | {"error_cb": self._refusals})

    def ensure_topics(self, names: Sequence[str] = ()) -> None:
        """Create topics where they are missing, if the settings allow it.

        Args:
            names: of the topics; none: the three of the settings.

        Raises:
            KafkaError: no broker answers, or topics are missing and may not be created.
        """
        s = self.settings
        topics = names or (s.kafka_input_topic, s.kafka_success_topic, s.kafka_failure_topic)
        present = self._metadata().topics
        missing = [name for name in topics if name not in present]
        if not missing:
            return
        if not s.creates_topics:
            raise KafkaError(
                f"no topic {', '.join(missing)} at {s.kafka_bootstrap_servers}: create it, or set "
                "KAFKA_CREATE_TOPICS=true"
            )
        self._create(missing)

    def _create(self, names: list[str]) -> None:
        new = [NewTopic(n, NEW_TOPIC_PARTITIONS, config=dict(NEW_TOPIC_CONFIG)) for n in names]
        for name, created in self._admin.create_topics(new).items():
            with wrap_failures(f"topic {name} cannot be created"):
                try:
                    created.result(timeout=ANSWER_SECONDS)
                except KafkaException as error:
                    # Another starter may have been first.
                    if error.args[0].code() != Errors.TOPIC_ALREADY_EXISTS:
                        raise
        for name in names:
            # The controller has it; the servers that lead its partitions may not know yet.
            try:
                self._ends(name, IsolationLevel.READ_UNCOMMITTED, ANSWER_SECONDS)
            except LostOffsetsError:
                raise KafkaError(
                    f"topic {name} was created, and no server knows it yet: start again"
                ) from None

    def _metadata(self) -> Any:
        """Brokers and topics, from whichever server answers first.

        Raises:
            KafkaError: none answers in time; or they refuse us, which is told soon.
        """
        self._refusals.forget(self._admin)
        began, passed = time.monotonic(), 0.0
        while passed < ANSWER_SECONDS:
            try:
                # Refusals are heard of between attempts; these grow, for networks that are slow.
                return self._admin.list_topics(timeout=min(max(1, passed), ANSWER_SECONDS - passed))
            except KafkaException:
                passed = time.monotonic() - began
            refusal = self._refusals.find_problem(self._admin)
            if refusal is not None and passed > REFUSED_SECONDS:
                raise KafkaError(refusal)
        raise KafkaError(
            f"no Kafka broker answers at {self.settings.kafka_bootstrap_servers}; start it (`make "
            "kafka`), or mend KAFKA_BOOTSTRAP_SERVERS and the security settings: "
            f"{self._refusals.reason or 'no answer'}"
        )

    def topic_id(self, topic: str, seconds: float = ANSWER_SECONDS) -> str:
        """The id that the cluster gave the topic: another one after it was recreated.

        Args:
            topic: its name.
            seconds: how long an answer is waited for.

        Raises:
            LostOffsetsError: there is no such topic, all of a sudden.
        """
        # Asked for each batch: what the client has said of its connections must not pile up.
        self._refusals.forget(self._admin)
        with wrap_failures(f"topic {topic} cannot be described"):
            try:
                ask = partial(self._describe_topic, topic, seconds)
                return str(retry_query(ask, UNKNOWN_SECONDS).topic_id)
            except KafkaException as error:
                if error.args[0].code() != Errors.UNKNOWN_TOPIC_OR_PART:
                    raise
                raise LostOffsetsError(_is_deleted(topic)) from None

    def _describe_topic(self, topic: str, seconds: float) -> Any:
        futures = self._admin.describe_topics(TopicCollection([topic]), request_timeout=seconds)
        return futures[topic].result(timeout=seconds)

    def end_offsets(self, topic: str) -> Offsets:
        """For each partition, the offset up to which it can be read: the end that is planned to.

        By `KAFKA_ISOLATION_LEVEL` the last stable offset, where the oldest transaction begins that
        is still open, or the high watermark.
        """
        return self._ends(topic, ISOLATION[self.settings.kafka_isolation_level])

    def written_offsets(self, topic: str) -> Offsets:
        """For each partition, the high watermark: the offset that the next record will have.

        Records below it are there, whether or not a transaction that is open still hides them.
        """
        return self._ends(topic, IsolationLevel.READ_UNCOMMITTED)

    def _ends(
        self, topic: str, level: IsolationLevel, patience: float = UNKNOWN_SECONDS
    ) -> Offsets:
        partitions = self._list_partitions(topic, patience)
        with wrap_failures(f"the offsets of {topic} cannot be read"):
            return retry_query(partial(self._list_offsets, topic, partitions, level))

    def _list_offsets(self, topic: str, partitions: list[int], level: IsolationLevel) -> Offsets:
        wanted = {TopicPartition(topic, p): OffsetSpec.latest() for p in partitions}  # type: ignore[no-untyped-call]
        futures = self._admin.list_offsets(
            wanted, isolation_level=level, request_timeout=ANSWER_SECONDS
        )
        return {at.partition: int(end.result(ANSWER_SECONDS).offset) for at, end in futures.items()}

    def refuse_hidden(self, topic: str, positions: Mapping[int, int]) -> None:
        """Refuse to go on from positions that a transaction, still open, hides.

        A stream that read uncommitted records stands there. Spark would take the end for records
        that are lost, and plan a batch that its checkpoint never gets rid of.

        Args:
            topic: its name.
            positions: the next offset of each partition.

        Raises:
            KafkaError: it is to be tried again when the transactions have ended.
        """
        ends = self.end_offsets(topic)
        ahead = {p: at for p, at in positions.items() if at > ends.get(p, at)}
        if not ahead:
            return
        written = self.written_offsets(topic)
        hidden = {p: at for p, at in ahead.items() if at <= written.get(p, -1)}
        if hidden:
            raise KafkaError(
                f"a transaction is open in {topic} that hides where the stream goes on (partition: "
                f"offset {hidden}): start again when it has ended, or read with "
                "KAFKA_ISOLATION_LEVEL=read_uncommitted until then"
            )

    def _list_partitions(self, topic: str, patience: float) -> list[int]:
        """The partitions of a topic, which a server may get to know some seconds after others."""
        try:
            return retry_query(partial(self._known_partitions, topic), patience)
        except KafkaException:
            raise LostOffsetsError(_is_deleted(topic)) from None

    def _known_partitions(self, topic: str) -> list[int]:
        metadata = self._metadata().topics.get(topic)
        if metadata is None or not metadata.partitions:
            raise KafkaException(Errors(Errors.UNKNOWN_TOPIC_OR_PART))
        return list(metadata.partitions)

    def commit_group(self, topic: str, offsets: Mapping[int, int]) -> None:
        """Commit offsets to the consumer group, for the lag tools; Spark itself never does."""
        group = self.settings.kafka_consumer_group
        positions = [TopicPartition(topic, p, offset) for p, offset in offsets.items()]
        request = [ConsumerGroupTopicPartitions(group, positions)]
        with wrap_failures(f"offsets not committed to group {group}"):
            self._admin.alter_consumer_group_offsets(request)[group].result(timeout=ANSWER_SECONDS)

    def produce(self, topic: str, records: Iterable[Record]) -> int:
        """Produce records to a topic; see :func:`scorestream.infra.kafka.producer.produce`."""
        return produce(topic, records, producer_options(self.settings))

    def consume(
        self, topic: str, start: Offsets | None, end: Offsets, level: str | None = None
    ) -> Iterable[Message]:
        """Every record from `start` (default: the first) up to before `end`, by partition.

        Args:
            topic: its name.
            start: the first offset of each partition.
            end: what :meth:`end_offsets` says, or :meth:`written_offsets` for `read_uncommitted`.
            level: the isolation level; None for that of the settings.
        """
        consumer = Consumer(
            consumer_options(self.settings)
            | {"group.id": f"{self.settings.kafka_consumer_group}-reader"}
            | {"isolation.level": level or self.settings.kafka_isolation_level}
            | {"enable.auto.commit": False, "enable.partition.eof": True}
        )
        try:
            for partition, last in end.items():
                first = OFFSET_BEGINNING if start is None else start.get(partition, 0)
                yield from _partition(consumer, TopicPartition(topic, partition, first), last)
        finally:
            consumer.close()


def _is_deleted(topic: str) -> str:
    return f"topic {topic} was deleted: nothing was skipped; see docs/troubleshooting.md"


def _partition(consumer: Consumer, start: TopicPartition, end: int) -> Iterable[Message]:
    low, _ = consumer.get_watermark_offsets(start, ANSWER_SECONDS)
    if end <= max(low, start.offset):
        return
    consumer.assign([start])
    while True:
        message = consumer.poll(ANSWER_SECONDS)
        if message is None:
            raise KafkaError(f"no answer from {start.topic} partition {start.partition}")
        error, offset = message.error(), message.offset() or 0
        if error is not None:
            if error.code() == Errors._PARTITION_EOF:
                # The last offsets before `end` hold no records, transaction markers for instance.
                return
            raise KafkaError(f"{start.topic} cannot be read: {error.str()}")
        if offset < end:
            yield message
        if offset >= end - 1:
            return
