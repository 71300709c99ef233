"""The local broker as a process: what it accepts, what it keeps, how it ends."""

from __future__ import annotations

import os
import signal
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, Message, Producer
from confluent_kafka import TopicPartition as Partition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from scorestream.infra.errors import KafkaError
from tools.local.broker import LocalBroker
from tools.local.ports import free_port

pytestmark = pytest.mark.broker

JANUARY_2021_MS: Final = 1_609_459_200_000
DAY_MS: Final = 86_400_000
HOUR_MS: Final = 3_600_000
TEN_MB: Final = 10_000_000
SECONDS: Final = 30.0


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalBroker]:
    """A broker of this module's own: its tests stop and kill it."""
    local = LocalBroker(free_port(), tmp_path_factory.mktemp("a folder with spaces"))
    local.start()
    yield local
    local.stop()


@pytest.fixture
def topic(local: LocalBroker) -> str:
    """A new topic of one partition."""
    local.start()
    name = f"topic-{uuid.uuid4().hex[:8]}"
    admin = AdminClient({"bootstrap.servers": local.bootstrap_servers})
    admin.create_topics([NewTopic(name, num_partitions=1)])[name].result(SECONDS)
    return name


def produce(local: LocalBroker, topic: str, records: list[tuple[bytes, int]]) -> None:
    """Send (value, timestamp in ms) records; fails unless all are acknowledged."""
    errors: list[object] = []
    producer = Producer(
        {"bootstrap.servers": local.bootstrap_servers, "message.max.bytes": TEN_MB + 10_000}
    )
    for value, timestamp in records:
        producer.produce(
            topic, value, timestamp=timestamp, on_delivery=lambda error, _: errors.append(error)
        )
    assert producer.flush(SECONDS) == 0
    assert errors == [None] * len(records)


def consume(local: LocalBroker, topic: str, count: int) -> list[Message]:
    """The first `count` records of partition 0."""
    consumer = Consumer(
        {
            "bootstrap.servers": local.bootstrap_servers,
            "group.id": f"group-{uuid.uuid4().hex[:8]}",
            "enable.auto.commit": False,
        }
    )
    try:
        consumer.assign([Partition(topic, 0, OFFSET_BEGINNING)])
        messages = consumer.consume(count, timeout=SECONDS)
    finally:
        consumer.close()
    assert [message.error() for message in messages] == [None] * count
    return messages


def test_it_takes_10_mb_and_timestamps_of_years_ago_and_an_hour_ahead(
    local: LocalBroker, topic: str
) -> None:
    ahead = int(time.time() * 1000) + HOUR_MS + 60_000
    sent = [(os.urandom(TEN_MB), JANUARY_2021_MS), (b"ahead", ahead)]
    produce(local, topic, sent)
    got = consume(local, topic, 2)
    assert [(m.value(), m.timestamp()[1]) for m in got] == sent


def test_timestamps_of_many_years_share_a_segment(local: LocalBroker, topic: str) -> None:
    for day in (0, 30, 100, 900, 3, 1500):
        produce(local, topic, [(b"", JANUARY_2021_MS + day * DAY_MS)])
    assert len(list((local.data / f"{topic}-0").glob("*.log"))) == 1


def test_a_second_start_is_harmless(local: LocalBroker) -> None:
    local.start()
    pid = local.pid
    assert pid is not None
    assert local.start() is False
    assert local.pid == pid


def test_it_is_detached_from_the_process_that_started_it(local: LocalBroker) -> None:
    local.start()
    assert local.pid is not None
    assert os.getsid(local.pid) != os.getsid(0)
    with pytest.raises(ChildProcessError):
        os.waitpid(local.pid, os.WNOHANG)


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_a_restart_keeps_records_and_committed_offsets(
    local: LocalBroker, topic: str, end: signal.Signals
) -> None:
    produce(local, topic, [(b"kept", JANUARY_2021_MS)])
    group = {"bootstrap.servers": local.bootstrap_servers, "group.id": f"group-of-{topic}"}
    commit(group, Partition(topic, 0, 1))
    stop(local, end)
    assert local.pid is None
    assert local.start() is True
    assert consume(local, topic, 1)[0].value() == b"kept"
    assert committed(group, Partition(topic, 0)) == 1


def stop(local: LocalBroker, end: signal.Signals) -> None:
    """Stop the broker, or let it die as in a crash."""
    if end == signal.SIGTERM:
        assert local.stop() is True
        assert local.stop() is False
        return
    assert local.pid is not None
    os.kill(local.pid, end)
    deadline = time.monotonic() + SECONDS
    while local.pid is not None and time.monotonic() < deadline:
        time.sleep(0.05)


def commit(group: dict[str, str], done: Partition) -> None:
    consumer = Consumer(dict(group))
    consumer.commit(offsets=[done], asynchronous=False)
    consumer.close()


def committed(group: dict[str, str], partition: Partition) -> int:
    consumer = Consumer(dict(group))
    try:
        return int(consumer.committed([partition], timeout=SECONDS)[0].offset)
    finally:
        consumer.close()


def test_an_unknown_topic_is_not_created(local: LocalBroker) -> None:
    local.start()
    admin = AdminClient({"bootstrap.servers": local.bootstrap_servers})
    admin.list_topics("misspelt", timeout=SECONDS)
    assert "misspelt" not in admin.list_topics(timeout=SECONDS).topics


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("num.partitions", "none", r"cannot format(.|\n)*num\.partitions"),
        ("authorizer.class.name", "none.Such", r"ended at its start(.|\n)*none\.Such"),
    ],
)
def test_a_start_that_fails_shows_why_and_leaves_no_process(
    tmp_path: Path, name: str, value: str, told: str
) -> None:
    local = LocalBroker(free_port(), tmp_path, overrides={name: value})
    with pytest.raises(KafkaError, match=told):
        local.start()
    assert local.pid is None


def test_overrides_can_ask_for_a_password(tmp_path: Path) -> None:
    port = free_port()
    sasl = {
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "PLAIN",
        "sasl.username": "scorer",
        "sasl.password": "open sesame",
    }
    local = LocalBroker(port, tmp_path, overrides=password_listener(port), client=sasl)
    servers: dict[str, str | int | float] = {
        "bootstrap.servers": local.bootstrap_servers,
        "log_level": 0,
    }
    try:
        assert local.start() is True
        with pytest.raises(KafkaException):
            AdminClient({**servers, **sasl, "sasl.password": "wrong"}).list_topics(timeout=2)
        assert AdminClient({**servers, **sasl}).list_topics(timeout=SECONDS).brokers
    finally:
        local.stop()


def password_listener(port: int) -> dict[str, str]:
    """One listener with SASL PLAIN, for the broker itself and the user `scorer`."""
    return {
        "listeners": f"SASL_PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{port + 1}",
        "advertised.listeners": f"SASL_PLAINTEXT://127.0.0.1:{port}",
        "listener.security.protocol.map": "SASL_PLAINTEXT:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "SASL_PLAINTEXT",
        "sasl.enabled.mechanisms": "PLAIN",
        "sasl.mechanism.inter.broker.protocol": "PLAIN",
        "listener.name.sasl_plaintext.plain.sasl.jaas.config": (
            "org.apache.kafka.common.security.plain.PlainLoginModule required "
            'username="broker" password="inner" user_broker="inner" user_scorer="open sesame";'
        ),
    }
