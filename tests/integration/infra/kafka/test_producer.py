"""Records as a real broker takes or refuses them, and topics that come and go."""

from __future__ import annotations

import random
from typing import Any

import pytest
from confluent_kafka import KafkaError as Errors
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from scorestream.infra.delivery.checkpoint import StreamState
from scorestream.infra.delivery.start_checks import refuse_recreated
from scorestream.infra.errors import (
    CheckpointError,
    KafkaError,
    LostOffsetsError,
    TooLargeError,
)
from scorestream.infra.kafka.connection import client_options, producer_options
from scorestream.infra.kafka.producer import Record, produce
from tools.local.broker import LocalBroker
from tools.local.ports import free_port
from tools.testkit.installation import Installation

pytestmark = pytest.mark.broker

LIMIT = 20_000


def records(count: int, size: int) -> list[Record]:
    """Records that no compression makes smaller."""
    chance = random.Random(1)
    return [
        Record(b"k%d" % i, chance.randbytes(size), 1_600_000_000_000 + i, (("source", b"%d" % i),))
        for i in range(count)
    ]


@pytest.fixture
def narrow(installation: Installation) -> Installation:
    """An installation whose input topic takes less than a producer sends at once."""
    topic = installation.input_topic
    admin = AdminClient(client_options(installation.settings))
    new = NewTopic(topic, 1, config={"max.message.bytes": str(LIMIT)})
    admin.create_topics([new])[topic].result()
    return installation


def list_contents(installation: Installation) -> set[tuple[Any, ...]]:
    cluster, topic = installation.cluster, installation.input_topic
    return {
        (m.key(), m.value(), m.timestamp()[1], tuple(m.headers() or ()))
        for m in cluster.consume(topic, None, cluster.end_offsets(topic))
    }


def send(installation: Installation, sent: list[Record]) -> int:
    return produce(installation.input_topic, sent, producer_options(installation.settings))


def test_a_batch_that_is_too_large_goes_one_by_one(narrow: Installation) -> None:
    sent = records(100, LIMIT // 5)
    assert send(narrow, sent) == 100
    assert list_contents(narrow) == {(r.key, r.value, r.timestamp, r.headers) for r in sent}


def test_a_record_that_is_too_large_is_told_and_the_others_are_sent(narrow: Installation) -> None:
    with pytest.raises(TooLargeError, match=r"1 records are larger .* 20001 bytes: raise its max"):
        send(narrow, [*records(10, 100), *records(1, LIMIT + 1)])
    assert len(list_contents(narrow)) == 10


def test_a_deleted_topic_is_told_and_is_written_to_again_once_it_is_there(
    installation: Installation,
) -> None:
    installation.publish(records(1, 10))
    installation.delete_topic(installation.input_topic)
    # In the moment of the deletion the client may know no more than that a handle is gone.
    with pytest.raises(KafkaError, match="the topic was deleted"):
        send(installation, records(3, 10))
    installation.cluster.ensure_topics()
    assert send(installation, records(3, 10)) == 3


def test_results_wait_no_longer_than_they_may(installation: Installation) -> None:
    settings = installation.settings.model_copy(
        update={
            "kafka_bootstrap_servers": f"127.0.0.1:{free_port()}",
            "kafka_delivery_timeout_ms": 1000,
        }
    )
    with pytest.raises(KafkaError, match="no acknowledgement within KAFKA_DELIVERY_TIMEOUT_MS"):
        produce("anywhere", records(1, 10), producer_options(settings))


def test_a_topic_that_was_just_made_has_offsets(broker: LocalBroker, tmp_path: Any) -> None:
    for _ in range(5):
        installation = Installation(tmp_path, broker.bootstrap_servers)
        installation.cluster.ensure_topics()
        assert set(installation.cluster.end_offsets(installation.input_topic).values()) == {0}


def test_what_the_client_says_of_its_connections_does_not_pile_up(
    installation: Installation,
) -> None:
    cluster = installation.cluster
    cluster.ensure_topics()
    cluster._refusals(Errors(Errors._TRANSPORT, "connection refused"))
    assert cluster._refusals.reason == "connection refused"
    assert cluster.topic_id(installation.input_topic)
    assert cluster._refusals.reason is None


def test_a_topic_that_was_recreated_or_deleted_is_refused(installation: Installation) -> None:
    cluster, topic = installation.cluster, installation.input_topic
    cluster.ensure_topics()
    state = StreamState(topic=topic, topic_id=cluster.topic_id(topic))
    refuse_recreated(cluster, state)
    installation.delete_topic(topic)
    with pytest.raises(LostOffsetsError, match=f"topic {topic} was deleted"):
        refuse_recreated(cluster, state)
    with pytest.raises(LostOffsetsError, match=f"topic {topic} was deleted"):
        cluster.end_offsets(topic)
    cluster.ensure_topics()
    with pytest.raises(CheckpointError, match=f"topic {topic} was recreated"):
        refuse_recreated(cluster, state)
