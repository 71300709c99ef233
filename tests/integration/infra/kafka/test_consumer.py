"""Records as the tasks fetch them from a real broker."""

from __future__ import annotations

from random import Random

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from scorestream.infra.errors import KafkaError
from scorestream.infra.kafka import consumer
from scorestream.infra.kafka.connection import client_options, consumer_options
from scorestream.infra.kafka.consumer import BATCH_BYTES, OffsetRange, fetch
from scorestream.infra.kafka.producer import Record
from scorestream.infra.kafka.records import ATTEMPT_HEADER, Records
from scorestream.infra.times import MAX_SECONDS, MIN_SECONDS
from scorestream.wallets.core.scoring import Scoring
from scorestream.wallets.execution.scoring_task import score_records
from scorestream.wallets.execution.table_rows import BatchFacts, table_rows
from scorestream.wallets.schema.tables import REJECTS, SCORES
from tools.chaos.fuzzing.records import BAD_TIMESTAMPS, hostile_metadata
from tools.testkit.golden import broken_records, golden_records
from tools.testkit.installation import Installation
from tools.testkit.raw_records import RawRecord, produce_raw

pytestmark = pytest.mark.broker

MOMENT = 1_600_000_000_000


def fetched(installation: Installation, *ranges: tuple[int, int, int]) -> list[Records]:
    options = consumer_options(installation.settings)
    topic = installation.input_topic
    return list(fetch([OffsetRange(topic, *each) for each in ranges], options))


def test_ranges_come_whole_whatever_was_fetched_before(installation: Installation) -> None:
    installation.publish([Record(b"%d" % i, b"v%d" % i, i) for i in range(400)])
    ends = installation.cluster.end_offsets(installation.input_topic)
    first = [(p, 0, end // 2) for p, end in ends.items()]
    second = [(p, end // 2, end) for p, end in ends.items()]
    for ranges in (first, second, second, first, second[:1], first[1:]):
        got = [
            (int(p), int(o))
            for records in fetched(installation, *ranges)
            for p, o in zip(records.partitions, records.offsets, strict=True)
        ]
        assert sorted(got) == [(p, o) for p, start, end in ranges for o in range(start, end)]


def test_everything_of_a_record_is_kept(installation: Installation) -> None:
    one_partition(installation)
    headers = [(), ((ATTEMPT_HEADER, b"3"),), ((ATTEMPT_HEADER, b"x"),), (("other", b"1"),)]
    records = [Record(None, None, 1_600_000_000_123, headers=each) for each in headers]
    installation.publish([*records, Record(b"key", b"value", 1_700_000_000_999)])
    [batch] = fetched(installation, (0, 0, 5))
    assert batch.attempts.tolist() == [0, 3, 0, 0, 0]
    assert (batch.keys, batch.values) == ([None] * 4 + [b"key"], [None] * 4 + [b"value"])
    assert batch.timestamps.tolist() == [1_600_000_000_123] * 4 + [1_700_000_000_999]
    assert batch.as_of.tolist() == [1_600_000_000] * 4 + [1_700_000_000]
    assert batch.topics.to_pylist() == [installation.input_topic] * 5


def test_whatever_a_record_is_made_of_it_ends_as_a_score_or_a_reject(
    installation: Installation, scoring: Scoring
) -> None:
    topic, random = one_partition(installation), Random(2026)
    values = [record.value for record in golden_records()[:3] + broken_records()[:3]]
    odd = [
        RawRecord(b"k", values[0], MOMENT, ((b"\xff\xfe", b"x"), (ATTEMPT_HEADER.encode(), b"3"))),
        RawRecord(None, values[0], MOMENT, tuple((b"h%d" % i, None) for i in range(10_000))),
        RawRecord(b"k" * 1_000_000, None, -1, ((b"", b""), (b"", None))),
        *(RawRecord(None, values[0], at) for at in BAD_TIMESTAMPS if at),
    ]
    hostile = [(random.choice(values), *hostile_metadata(random)) for _ in range(200)]
    # librdkafka sends the time of sending for 0.
    raw = [RawRecord(key, value, at or 1, names) for value, at, key, names in hostile]
    sent = [*odd, *raw]
    produce_raw(installation.bootstrap_servers, topic, sent)

    batches = fetched(installation, (0, 0, len(sent)))
    assert [key for batch in batches for key in batch.keys] == [record.key for record in sent]
    assert [value for batch in batches for value in batch.values] == [r.value for r in sent]
    facts = BatchFacts("run", 0, 1.0, code_version="1")
    done: dict[int, str] = {}
    for scored, records in score_records(batches, (scoring,), include_transactions=True):
        rows = table_rows(scored, records, facts)
        for row in rows[SCORES].to_pylist() + rows[REJECTS].to_pylist():
            assert done.setdefault(row["source_offset"], row.get("error_code", "")) is not None
    assert sorted(done) == list(range(len(sent)))
    timeless = [not 1000 <= record.timestamp <= 10**14 for record in sent]
    assert [done[at] == "invalid_timestamp" for at in range(len(sent))] == timeless
    assert (done[0], done[1]) == ("", "")


def test_timestamps_come_as_they_were_sent(installation: Installation) -> None:
    one_partition(installation)
    times = [10**14, 10**14 + 1, 2**63 - 1, -1, -(2**63)]
    installation.publish([Record(None, b"v", time) for time in times])
    [batch] = fetched(installation, (0, 0, len(times)))
    assert batch.timestamps.tolist() == times
    assert batch.as_of.tolist() == [MAX_SECONDS] * 3 + [-1, MIN_SECONDS]


def test_keys_count_for_the_size_of_a_batch(installation: Installation) -> None:
    one_partition(installation)
    size = BATCH_BYTES // 3
    installation.publish([Record(b"x" * size, None)] * 4)
    assert [len(batch) for batch in fetched(installation, (0, 0, 4))] == [4]
    installation.publish([Record(b"x" * size, None)] * 4)
    assert [len(batch) for batch in fetched(installation, (0, 0, 8))] == [4, 4]


def test_batches_are_bounded_by_bytes(installation: Installation) -> None:
    one_partition(installation)
    size = BATCH_BYTES // 3
    installation.publish([Record(None, b"x" * size)] * 7 + [Record(None, b"x" * 5 * size)])
    assert [len(batch) for batch in fetched(installation, (0, 0, 8))] == [4, 4]


def test_offsets_without_a_record_are_passed_over(installation: Installation) -> None:
    one_partition(installation)
    producer = Producer(client_options(installation.settings) | {"transactional.id": "t"})
    producer.init_transactions()
    for value in (b"a", b"b"):
        producer.begin_transaction()
        producer.produce(installation.input_topic, value)
        producer.commit_transaction()
    # Offsets 1 and 3 are the transactions' markers.
    assert installation.cluster.end_offsets(installation.input_topic) == {0: 4}
    for end in (3, 4):
        [batch] = fetched(installation, (0, 0, end))
        assert batch.offsets.tolist() == [0, 2]


def test_offsets_that_are_not_there_are_an_error(installation: Installation) -> None:
    one_partition(installation)
    with pytest.raises(KafkaError, match=r"cannot be read: .*out of range"):
        fetched(installation, (0, 5, 8))


def test_a_partition_that_ends_before_the_range_is_waited_for(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    one_partition(installation)
    installation.publish([Record(None, b"v")] * 3)
    monkeypatch.setattr(consumer, "ANSWER_SECONDS", 2.0)
    # As after a restart of the broker, which may not know all of a partition at once.
    with pytest.raises(KafkaError, match=r"no answer from the broker for .*start=3, end=5"):
        fetched(installation, (0, 0, 5))


def one_partition(installation: Installation) -> str:
    admin = AdminClient(client_options(installation.settings))
    topic = installation.input_topic
    config = {"max.message.bytes": str(64 << 20)}
    admin.create_topics([NewTopic(topic, 1, config=config)])[topic].result()
    return topic
