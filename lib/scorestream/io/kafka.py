"""The one module that talks to Kafka: connections, topics, offsets, reading, writing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    ConsumerGroupTopicPartitions,
    KafkaException,
    Message,
    Producer,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka import KafkaError as Errors
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from pyspark.sql import DataFrame, SparkSession

from scorestream.errors import KafkaError
from scorestream.settings import Settings

ANSWER_SECONDS: Final = 15.0
MAX_MESSAGE_BYTES: Final = 16 * 1024 * 1024
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

PRODUCER_OPTIONS: Final = {
    "enable.idempotence": True,
    "acks": "all",
    "compression.type": "lz4",
    "linger.ms": 20,
    "message.max.bytes": MAX_MESSAGE_BYTES,
}
SOURCE_OPTIONS: Final = {
    "kafka.max.partition.fetch.bytes": str(MAX_MESSAGE_BYTES),
    "kafka.fetch.max.bytes": str(4 * MAX_MESSAGE_BYTES),
}
SINK_OPTIONS: Final = {
    "kafka.enable.idempotence": "true",
    "kafka.acks": "all",
    "kafka.compression.type": "lz4",
    "kafka.max.request.size": str(MAX_MESSAGE_BYTES),
}

Offsets = dict[int, int]


@dataclass(frozen=True)
class Record:
    """A record to produce; `timestamp` in unix milliseconds, None for now."""

    key: bytes | None
    value: bytes | None
    timestamp: int | None = None
    headers: tuple[tuple[str, bytes], ...] = ()


def client_options(settings: Settings) -> dict[str, Any]:
    """Connection settings in librdkafka's names, secrets in clear."""
    given = {
        "bootstrap.servers": settings.kafka_bootstrap_servers,
        "security.protocol": settings.kafka_security_protocol,
        "sasl.mechanism": settings.kafka_sasl_mechanism,
        "sasl.username": settings.kafka_sasl_username,
        "sasl.password": _clear(settings.kafka_sasl_password),
        "ssl.ca.location": settings.kafka_ssl_cafile,
        "ssl.certificate.location": settings.kafka_ssl_certfile,
        "ssl.key.location": settings.kafka_ssl_keyfile,
        "ssl.key.password": _clear(settings.kafka_ssl_key_password),
    }
    # Errors reach the caller as exceptions; librdkafka's own lines would only repeat them.
    return {k: str(v) for k, v in given.items() if v is not None} | {"log_level": 0}


def spark_options(settings: Settings) -> dict[str, str]:
    """Connection settings as options of Spark's Kafka source and sink (Java client's names)."""
    given = {
        "kafka.bootstrap.servers": settings.kafka_bootstrap_servers,
        "kafka.security.protocol": settings.kafka_security_protocol,
        "kafka.sasl.mechanism": settings.kafka_sasl_mechanism,
        "kafka.sasl.jaas.config": _jaas(settings),
        "kafka.ssl.truststore.location": settings.kafka_ssl_cafile,
        "kafka.ssl.truststore.type": settings.kafka_ssl_cafile and "PEM",
    }
    return {k: str(v) for k, v in given.items() if v is not None} | _spark_key_store(settings)


def _spark_key_store(settings: Settings) -> dict[str, str]:
    """The client certificate as PEM text: Java wants certificate and key in one store."""
    certificate, key = settings.kafka_ssl_certfile, settings.kafka_ssl_keyfile
    if certificate is None or key is None:
        return {}
    options = {
        "kafka.ssl.keystore.type": "PEM",
        "kafka.ssl.keystore.certificate.chain": certificate.read_text(encoding="ascii"),
        "kafka.ssl.keystore.key": key.read_text(encoding="ascii"),
    }
    password = _clear(settings.kafka_ssl_key_password)
    return options if password is None else options | {"kafka.ssl.key.password": password}


def _jaas(settings: Settings) -> str | None:
    if settings.kafka_sasl_password is None:
        return None
    plain = settings.kafka_sasl_mechanism == "PLAIN"
    module = "plain.PlainLoginModule" if plain else "scram.ScramLoginModule"
    user, password = settings.kafka_sasl_username, _clear(settings.kafka_sasl_password)
    return (
        f"org.apache.kafka.common.security.{module} required "
        f"username={_quoted(user)} password={_quoted(password)};"
    )


def _quoted(text: str | None) -> str:
    escaped = (text or "").replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _clear(secret: Any) -> str | None:
    return None if secret is None else str(secret.get_secret_value())


@contextmanager
def _failures(what: str) -> Iterator[None]:
    """Turn the client library's failures into one that says what could not be done."""
    try:
        yield
    except KafkaException as error:
        cause = error.args[0]
        reason = cause.str() if isinstance(cause, Errors) else cause
        raise KafkaError(f"{what}: {reason}") from None
    except TimeoutError:
        raise KafkaError(f"{what}: no answer") from None


class KafkaCluster:
    """Topics and offsets of the configured cluster."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._options = client_options(settings)
        with _failures("Kafka's connection settings cannot be used"):
            self._admin = AdminClient(self._options)

    def ensure_topics(self) -> None:
        """Create the three topics where they are missing, if the settings allow it.

        Raises:
            KafkaError: no broker answers, or topics are missing and may not be created.
        """
        s = self.settings
        topics = (s.kafka_input_topic, s.kafka_success_topic, s.kafka_failure_topic)
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
            with _failures(f"topic {name} cannot be created"):
                try:
                    created.result(timeout=ANSWER_SECONDS)
                except KafkaException as error:
                    # Another starter may have been first.
                    if error.args[0].code() != Errors.TOPIC_ALREADY_EXISTS:
                        raise

    def _metadata(self) -> Any:
        servers = self.settings.kafka_bootstrap_servers
        hint = "start it (`make kafka`), or mend KAFKA_BOOTSTRAP_SERVERS and the security settings"
        with _failures(f"no Kafka broker answers at {servers}; {hint}"):
            return self._admin.list_topics(timeout=ANSWER_SECONDS)

    def topic_id(self, topic: str) -> str:
        """The id that the cluster gave the topic: another one after it was recreated."""
        with _failures(f"topic {topic} cannot be described"):
            described = self._admin.describe_topics(TopicCollection([topic]))[topic]
            return str(described.result(timeout=ANSWER_SECONDS).topic_id)

    def end_offsets(self, topic: str) -> Offsets:
        """For each partition, the offset that the next record will have."""
        consumer = Consumer(self._options | {"group.id": self.settings.kafka_consumer_group})
        try:
            partitions = self._metadata().topics[topic].partitions
            with _failures(f"the offsets of {topic} cannot be read"):
                return {
                    p: consumer.get_watermark_offsets(TopicPartition(topic, p), ANSWER_SECONDS)[1]
                    for p in partitions
                }
        finally:
            consumer.close()

    def commit_group(self, topic: str, offsets: Mapping[int, int]) -> None:
        """Commit offsets to the consumer group, for the lag tools; Spark itself never does."""
        group = self.settings.kafka_consumer_group
        positions = [TopicPartition(topic, p, offset) for p, offset in offsets.items()]
        request = [ConsumerGroupTopicPartitions(group, positions)]
        with _failures(f"offsets not committed to group {group}"):
            self._admin.alter_consumer_group_offsets(request)[group].result(timeout=ANSWER_SECONDS)

    def produce(self, topic: str, records: Iterable[Record]) -> int:
        """Produce records, idempotent and acknowledged by all replicas; returns how many.

        Raises:
            KafkaError: a record was refused; those after it may not have been sent.
        """
        producer = Producer(self._options | PRODUCER_OPTIONS)
        failures: list[str] = []

        def note(error: Any, _: Message) -> None:
            if error is not None:
                failures.append(str(error))

        count = 0
        with _failures(f"records cannot be sent to {topic}"):
            for record in records:
                _send(producer, topic, record, note)
                count += 1
                if failures:
                    break
            producer.flush()
        if failures:
            raise KafkaError(f"{len(failures)} records refused by {topic}: {failures[0]}")
        return count

    def consume(self, topic: str, start: Offsets | None, end: Offsets) -> Iterable[Message]:
        """Every record from `start` (default: the first) up to before `end`, by partition."""
        consumer = Consumer(
            self._options
            | {"group.id": f"{self.settings.kafka_consumer_group}-reader"}
            | {"enable.auto.commit": False, "enable.partition.eof": True}
        )
        try:
            for partition, last in end.items():
                first = OFFSET_BEGINNING if start is None else start.get(partition, 0)
                yield from _partition(consumer, TopicPartition(topic, partition, first), last)
        finally:
            consumer.close()


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
        producer.poll(0)
        return


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


def read_stream(spark: SparkSession, settings: Settings, **options: str) -> DataFrame:
    """The input topic as a stream, with headers; lost offsets fail the query."""
    reader = spark.readStream.format("kafka").options(**spark_options(settings))
    return (
        reader.option("subscribe", settings.kafka_input_topic)
        .option("includeHeaders", "true")
        .option("failOnDataLoss", "true")
        .options(**SOURCE_OPTIONS, **options)
        .load()
    )


def write_records(records: DataFrame, settings: Settings) -> None:
    """Publish rows of (topic, key, value, headers), acknowledged by all replicas."""
    options = spark_options(settings) | SINK_OPTIONS
    records.write.format("kafka").options(**options).option("includeHeaders", "true").save()
