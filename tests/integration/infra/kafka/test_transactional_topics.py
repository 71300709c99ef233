"""Topics with transactions, gaps and compacted offsets, on a real broker."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
)
from confluent_kafka.cimpl import NewTopic
from pyspark.sql import Row, SparkSession

from scorestream.infra.config.settings import Settings
from scorestream.infra.delivery.checkpoint import Checkpoint
from scorestream.infra.delivery.start import Start, find_start
from scorestream.infra.delta.warehouse import Warehouse
from scorestream.infra.errors import KafkaError
from scorestream.infra.kafka import consumer as fetching
from scorestream.infra.kafka.connection import client_options, consumer_options
from scorestream.infra.kafka.consumer import (
    OffsetRange,
    fetch,
    planned_ranges,
    read_stream,
)
from scorestream.infra.kafka.producer import Record
from scorestream.infra.sql.spark_guard import ReadOnlySession
from scorestream.wallets.core.scoring import Scoring
from scorestream.wallets.execution.scoring_task import score_records
from scorestream.wallets.execution.table_rows import BatchFacts, table_rows
from scorestream.wallets.maintenance import replay_rejects
from scorestream.wallets.schema.tables import SCORES
from scorestream.wallets.schema.views import CATALOG
from tools.local.broker import LocalBroker
from tools.testkit.golden import golden_records
from tools.testkit.installation import Installation, wait_until
from tools.testkit.streams import open_coverage

pytestmark = pytest.mark.broker

UNCOMMITTED = {"kafka_isolation_level": "read_uncommitted"}
DAY_MS = 86_400_000
START_MS = 1_600_000_000_000


class Transactions:
    """A producer of transactions, such as Flink's: one after the other, committed or aborted."""

    def __init__(self, installation: Installation) -> None:
        self._topic = installation.input_topic
        options = client_options(installation.settings)
        self._producer = Producer(options | {"transactional.id": installation.name})
        self._producer.init_transactions()

    def begin(self, *values: bytes) -> None:
        self._producer.begin_transaction()
        for value in values:
            self._producer.produce(self._topic, value, timestamp=START_MS)
        self._producer.flush()

    def commit(self, *values: bytes) -> None:
        self.begin(*values)
        self.end()

    def abort(self, *values: bytes) -> None:
        self.begin(*values)
        self._producer.abort_transaction()

    def end(self) -> None:
        self._producer.commit_transaction()


@pytest.fixture
def topic(installation: Installation) -> str:
    return create(installation)


@pytest.fixture
def transactions(installation: Installation, topic: str) -> Transactions:
    assert topic == installation.input_topic
    return Transactions(installation)


def create(installation: Installation, **config: str) -> str:
    admin, topic = AdminClient(client_options(installation.settings)), installation.input_topic
    made = NewTopic(topic, 1, config={k.replace("_", "."): v for k, v in config.items()})
    admin.create_topics([made])[topic].result()
    return topic


def read_uncommitted(installation: Installation) -> Settings:
    return installation.settings.model_copy(update=UNCOMMITTED)


def fetched(installation: Installation, end: int, **settings: Any) -> dict[int, bytes | None]:
    """Values by offset, of what a task fetches from 0 up to before an offset."""
    given = installation.settings.model_copy(update=settings)
    ranges = [OffsetRange(installation.input_topic, 0, 0, end)]
    return {
        int(offset): value
        for records in fetch(ranges, consumer_options(given))
        for offset, value in zip(records.offsets, records.values, strict=True)
    }


def end_of(installation: Installation) -> int:
    return installation.cluster.end_offsets(installation.input_topic)[0]


def written(installation: Installation) -> int:
    return installation.cluster.written_offsets(installation.input_topic)[0]


def publish(installation: Installation, *values: bytes) -> None:
    installation.publish([Record(None, value, START_MS) for value in values])


def wait_for_end(installation: Installation, end: int) -> None:
    """The coordinator writes the markers of a transaction after it has answered."""
    wait_until(lambda: end_of(installation) == end, 30)


def test_aborted_records_are_never_fetched_and_the_others_once(
    installation: Installation, transactions: Transactions
) -> None:
    transactions.commit(b"a", b"b")
    transactions.abort(b"x", b"y")
    publish(installation, b"c")
    transactions.abort(b"z")
    # The last offsets are an aborted record and a marker.
    wait_for_end(installation, 9)
    committed = {0: b"a", 1: b"b", 6: b"c"}
    assert fetched(installation, 9) == committed
    # Ranges may end anywhere, also among what is aborted.
    for end in range(10):
        assert fetched(installation, end) == {at: v for at, v in committed.items() if at < end}
    everything = committed | {3: b"x", 4: b"y", 7: b"z"}
    assert fetched(installation, 9, **UNCOMMITTED) == everything


def test_an_open_transaction_is_the_end_until_it_is_committed(
    installation: Installation, transactions: Transactions
) -> None:
    publish(installation, b"a")
    transactions.begin(b"b")
    publish(installation, b"c")
    assert (end_of(installation), written(installation)) == (1, 3)
    assert fetched(installation, 1) == {0: b"a"}
    assert fetched(installation, 3, **UNCOMMITTED) == {0: b"a", 1: b"b", 2: b"c"}
    transactions.end()
    wait_for_end(installation, 4)
    assert fetched(installation, 4) == {0: b"a", 1: b"b", 2: b"c"}


def test_gaps_cost_no_call_of_the_broker(
    installation: Installation, transactions: Transactions, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = 100
    for number in range(count):
        transactions.commit(b"%d" % number)
    wait_for_end(installation, 2 * count)
    told: list[dict[str, Any]] = []
    counted = {"statistics.interval.ms": 10, "stats_cb": lambda text: told.append(json.loads(text))}
    monkeypatch.setattr(fetching, "CONSUMER_OPTIONS", fetching.CONSUMER_OPTIONS | counted)
    fetching._consumer.cache_clear()
    assert len(fetched(installation, 2 * count)) == count
    consumer = fetching._consumer(tuple(sorted(consumer_options(installation.settings).items())))
    seen = len(told)
    wait_until(lambda: consumer.poll(0.05) is None and len(told) > seen + 1, 10)
    fetching._consumer.cache_clear()
    brokers = told[-1]["brokers"].values()
    asked = {name: sum(b["req"].get(name, 0) for b in brokers) for name in ("Fetch", "ListOffsets")}
    assert asked["ListOffsets"] == 0
    assert 0 < asked["Fetch"] < count / 2


def test_records_that_age_out_while_they_are_fetched_are_an_error(
    installation: Installation, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(installation, *[b"x" * 10_000] * 500)
    small = {"fetch.message.max.bytes": 20_000, "queued.min.messages": 1}
    small |= {"queued.max.messages.kbytes": 20}
    monkeypatch.setattr(fetching, "CONSUMER_OPTIONS", fetching.CONSUMER_OPTIONS | small)
    monkeypatch.setattr(fetching, "BATCH_BYTES", 20_000)
    monkeypatch.setattr(fetching, "MESSAGES_PER_CALL", 2)
    fetching._consumer.cache_clear()
    batches = fetch([OffsetRange(topic, 0, 0, 500)], consumer_options(installation.settings))
    first = next(batches)
    assert first.offsets[0] == 0
    admin = AdminClient(client_options(installation.settings))
    [deleted] = admin.delete_records([TopicPartition(topic, 0, 400)]).values()
    deleted.result()
    with pytest.raises(KafkaError, match=r"out of range|are gone"):
        list(batches)


@pytest.fixture
def quick_cleaner(broker: LocalBroker) -> Iterator[None]:
    """The broker looks ten times a second, not every 15 s, for what it may compact."""
    _cleaner_pause(broker, "100")
    yield
    _cleaner_pause(broker, "15000")


def _cleaner_pause(broker: LocalBroker, milliseconds: str) -> None:
    entry = ConfigEntry(
        "log.cleaner.backoff.ms",
        milliseconds,
        incremental_operation=AlterConfigOpType.SET,
    )
    resource = ConfigResource(
        ConfigResource.Type.BROKER,
        "1",
        incremental_configs=[entry],
    )
    admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
    [altered] = admin.incremental_alter_configs([resource]).values()
    altered.result()


@pytest.mark.usefixtures("quick_cleaner")
def test_compacted_offsets_are_passed_over_and_tombstones_come(installation: Installation) -> None:
    topic = create(
        installation,
        cleanup_policy="compact",
        min_cleanable_dirty_ratio="0.001",
        # A record a segment, as their times are a day apart; the last segment is never compacted.
        segment_ms="1000",
        message_timestamp_before_max_ms=str(2**63 - 1),
    )
    keys = [b"a", b"b", b"a", b"b", b"a", b"c", b"b", b"last"]
    values = [b"0", b"1", b"2", b"3", b"4", b"5", None, b"7"]
    for number, (key, value) in enumerate(zip(keys, values, strict=True)):
        # One by one: a segment ends between the batches of a producer.
        installation.publish([Record(key, value, START_MS + number * DAY_MS)])
    left = {4: b"4", 5: b"5", 6: None, 7: b"7"}
    wait_until(lambda: fetched(installation, 8) == left, 60)
    for start, end in ((0, 4), (0, 3), (1, 5), (2, 2)):
        ranges = [OffsetRange(topic, 0, start, end)]
        batches = list(fetch(ranges, consumer_options(installation.settings)))
        found = [int(at) for batch in batches for at in batch.offsets]
        assert found == [at for at in left if start <= at < end]


def planned(
    spark: SparkSession, settings: Settings, folder: Path, **options: str
) -> list[OffsetRange]:
    """What Spark plans with a checkpoint, drained as the job does it."""
    ranges: list[OffsetRange] = []
    records = read_stream(spark, settings, settings.kafka_input_topic, **options)
    stream = records.writeStream.trigger(availableNow=True)
    query = stream.foreachBatch(lambda batch, _: ranges.extend(planned_ranges(batch)))
    query.option("checkpointLocation", str(folder)).start().awaitTermination()
    return ranges


@pytest.mark.spark
def test_planning_fetching_and_start_go_by_one_end(
    installation: Installation,
    transactions: Transactions,
    spark: SparkSession,
    warehouse: Warehouse,
    tmp_path: Path,
) -> None:
    """A stream that read uncommitted records meets an open transaction, then its end."""
    topic, cluster = installation.input_topic, installation.cluster
    publish(installation, b"a")
    transactions.begin(b"b")
    publish(installation, b"c")
    first = {"startingOffsets": "earliest"}
    # Committed records are planned up to the open transaction, uncommitted ones to the last.
    folder = tmp_path / "committed"
    assert planned(spark, installation.settings, folder, **first) == [OffsetRange(topic, 0, 0, 1)]
    folder = tmp_path / "uncommitted"
    ranges = planned(spark, read_uncommitted(installation), folder, **first)
    assert ranges == [OffsetRange(topic, 0, 0, 3)]
    checkpoint = Checkpoint(spark, str(folder))
    assert checkpoint.next_offsets(topic) == {0: 3}
    progress = checkpoint.progress()
    assert progress is not None
    warehouse.mark(SCORES, (f"{progress.run_id}/{SCORES.name}", progress.done))

    coverage = open_coverage(warehouse, installation.settings)

    def start(checkpoint: Checkpoint) -> Start:
        return find_start(checkpoint, coverage, cluster)

    checkpoint.write_state(start(Checkpoint(spark, str(tmp_path / "new"))).state)
    with pytest.raises(KafkaError, match=r"a transaction is open .*\{0: 3\}"):
        start(checkpoint)
    transactions.end()
    wait_for_end(installation, 4)
    start(checkpoint)
    assert planned(spark, installation.settings, folder) == [OffsetRange(topic, 0, 3, 4)]


@pytest.mark.spark
def test_a_lost_checkpoint_beside_an_open_transaction_is_no_recreated_topic(
    installation: Installation,
    transactions: Transactions,
    spark: SparkSession,
    warehouse: Warehouse,
    scoring: Scoring,
    tmp_path: Path,
) -> None:
    """The warehouse holds uncommitted records of an earlier stream, behind the open transaction."""
    golden = [record.value or b"" for record in golden_records()[:3]]
    publish(installation, golden[0])
    transactions.begin(golden[1])
    publish(installation, golden[2])
    ranges = [OffsetRange(installation.input_topic, 0, 0, 3)]
    options = consumer_options(read_uncommitted(installation))
    facts = BatchFacts("run", 0, 1.0, code_version="1")
    for scored, records in score_records(
        fetch(ranges, options), (scoring,), include_transactions=True
    ):
        for table, rows in table_rows(scored, records, facts).items():
            warehouse.write(table, rows)
    checkpoint = Checkpoint(spark, str(tmp_path))
    coverage = open_coverage(warehouse, installation.settings)
    start = find_start(checkpoint, coverage, installation.cluster)
    # All of it is looked at once more.
    assert not start.coverage.settled
    assert start.coverage.starts == {}


@pytest.mark.spark
def test_a_replay_that_was_cut_off_finds_what_it_sent_behind_an_open_transaction(
    installation: Installation, transactions: Transactions, spark: SparkSession
) -> None:
    publish(installation, b"a")
    transactions.begin(b"b")
    start = installation.cluster.written_offsets(installation.input_topic)
    row = Row(
        source_topic=installation.input_topic,
        source_partition=0,
        source_offset=0,
        key=None,
        value=b"a",
        ms=START_MS,
        attempt=0,
    )
    installation.publish([replay_rejects._record(row)])
    stores = replay_rejects._Stores(
        ReadOnlySession(spark, ()),
        Warehouse(installation.settings.warehouse, CATALOG),
        installation.cluster,
    )
    found = replay_rejects._find_sent_origins(stores, start).collect()
    assert [tuple(each) for each in found] == [(installation.input_topic, 0, 0)]
