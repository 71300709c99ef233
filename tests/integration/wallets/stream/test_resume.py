"""A batch that was cut off at any point is finished by the next start, from what is stored."""

from __future__ import annotations

import json
import shutil
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient
from deltalake import DeltaTable
from pyspark.errors import PythonException
from pyspark.sql import SparkSession

from scorestream.infra.delivery.checkpoint import Checkpoint
from scorestream.infra.delivery.coverage import Coverage, Span
from scorestream.infra.delivery.delivery import Delivery
from scorestream.infra.delivery.start import Start, find_start
from scorestream.infra.delta.warehouse import Warehouse
from scorestream.infra.errors import CheckpointError
from scorestream.infra.kafka.connection import client_options
from scorestream.infra.kafka.consumer import OffsetRange
from scorestream.wallets.core.scoring import Scoring
from scorestream.wallets.schema.tables import COVERAGE, REJECTS, SCORES
from scorestream.wallets.schema.views import CATALOG
from scorestream.wallets.scorers.dex_v1.scorer import DexV1
from scorestream.wallets.stream.transform import ScoreTransform
from tools.benchmarks.workload import WHALE_TRANSACTIONS, Workload
from tools.testkit import mortal
from tools.testkit.delivery_checks import check_kafka_equals
from tools.testkit.golden import (
    broken_records,
    configured_dex_v1,
    differences,
    golden_records,
    golden_wallets,
)
from tools.testkit.installation import Installation, offsets_of
from tools.testkit.reference_dex_v1 import final_score
from tools.testkit.streams import (
    create_input_topic,
    open_coverage,
    open_delivery,
    start_over,
)

pytestmark = [pytest.mark.spark, pytest.mark.broker]

RECORDS = golden_records()[:6] + broken_records()[:3]


class CutOffError(Exception):
    """What stands for a crash."""


class CutOffWarehouse(Warehouse):
    """A warehouse whose process "dies" before its n-th commit."""

    def __init__(self, root: str, survives: int) -> None:
        super().__init__(root, CATALOG)
        self.survives = survives

    def append(self, *arguments: Any, **options: Any) -> None:
        if self.survives == 0:
            raise CutOffError
        self.survives -= 1
        super().append(*arguments, **options)


def start_at(
    installation: Installation,
    warehouse: Warehouse,
    checkpoint: Checkpoint,
    *,
    reprocess: bool = False,
) -> Start:
    """A start of the stream with a checkpoint."""
    records = open_coverage(warehouse, installation.settings)
    return find_start(checkpoint, records, installation.cluster, reprocess=reprocess)


def offsets(installation: Installation, start: int, end: int) -> list[OffsetRange]:
    return [OffsetRange(installation.input_topic, 0, start, end)]


@pytest.fixture
def filled(installation: Installation, warehouse: Warehouse) -> Installation:
    """The records in partition 0 of the input topic, over empty tables."""
    create_input_topic(installation, partitions=1)
    installation.publish(RECORDS)
    assert warehouse.root == installation.settings.warehouse
    return installation


# Before a commit of transactions, rejects or scores; before Kafka; before the coverage; after it.
WINDOWS = ["transactions", "rejects", "scores", "kafka", "coverage", "checkpoint"]


def cut_off(
    window: str,
    installation: Installation,
    spark: SparkSession,
    scoring: Scoring,
    ranges: list[OffsetRange],
    batch: tuple[str, int],
    code: str = "1",
) -> None:
    """A start, and a batch of it that is cut off in a window."""
    survives = min(WINDOWS.index(window), 3)
    dying = CutOffWarehouse(installation.settings.warehouse, survives)
    delivery, _ = open_delivery(installation.settings, spark, dying, scoring, code=code)
    with pytest.MonkeyPatch.context() as patch:
        if window == "kafka":
            patch.setattr(Delivery, "_publish", _fail)
        if window == "coverage":
            patch.setattr(Delivery, "_record", _fail)
        if window == "checkpoint":
            patch.setattr(ScoreTransform, "delivered", _fail)
        with pytest.raises(CutOffError):
            delivery.deliver(ranges, *batch)


@pytest.mark.parametrize("window", WINDOWS)
def test_a_batch_cut_off_between_the_sinks_is_finished_from_what_is_stored(
    window: str, filled: Installation, spark: SparkSession, warehouse: Warehouse, scoring: Scoring
) -> None:
    ranges = offsets(filled, 0, len(RECORDS))
    cut_off(window, filled, spark, scoring, ranges, ("run", 0))

    # Since then the code has changed: what is stored counts, only the rest is scored by it.
    other = configured_dex_v1().config.model_copy(update={"stable_symbols": frozenset({"XXX"})})
    changed = Scoring.of("dex-v1", DexV1(other))
    second, reports = open_delivery(filled.settings, spark, warehouse, changed, code="2")
    second.deliver(ranges, "run", 0)

    check_tables(filled)
    stored = WINDOWS.index(window) > WINDOWS.index("scores")
    assert {r["code_version"] for r in filled.rows("scores")} == {"1" if stored else "2"}
    assert [r.scores for r in reports] == [0 if stored else 6]
    check_published(filled)


def test_any_number_of_lost_checkpoints_in_a_row_loses_and_doubles_nothing(
    filled: Installation,
    spark: SparkSession,
    warehouse: Warehouse,
    scoring: Scoring,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each start is cut off in another window, plans other batches, and has another clock."""
    now, end = time.time(), len(RECORDS)
    for number, window in enumerate(WINDOWS):
        monkeypatch.setattr(time, "time", lambda: now - 86_400 * number)  # noqa: B023
        delivered = start_over(warehouse, filled.settings, [0]).coverage.starts.get(0, 0)
        ranges = offsets(filled, delivered, min(delivered + 3 + number % 2, end))
        cut_off(window, filled, spark, scoring, ranges, (f"run {number}", 0))
    last, _ = open_delivery(filled.settings, spark, warehouse, scoring)
    [(_, delivered)] = last.coverage.starts.items()
    assert delivered == 3 + (len(WINDOWS) - 1) % 2
    last.deliver(offsets(filled, delivered, delivered + 1), "last", 0)
    last.deliver(offsets(filled, delivered + 1, end), "last", 1)
    check_tables(filled)
    check_published(filled)


def test_what_is_delivered_is_neither_fetched_nor_published_again(
    filled: Installation, spark: SparkSession, warehouse: Warehouse, scoring: Scoring
) -> None:
    """A forgotten wallet, for one, does not come back with a lost checkpoint."""
    first, _ = open_delivery(filled.settings, spark, warehouse, scoring)
    first.deliver(offsets(filled, 0, 4), "run", 0)
    published = len(filled.messages(filled.settings.kafka_success_topic))
    DeltaTable(warehouse.path(SCORES)).delete("source_offset = 2")
    second, reports = open_delivery(filled.settings, spark, warehouse, scoring)
    second.deliver(offsets(filled, 0, 5), "another run", 0)
    assert [r.messages for r in reports] == [1]
    assert sorted(offsets_of(filled.rows("scores"))) == [(0, 0), (0, 1), (0, 3), (0, 4)]
    assert len(filled.messages(filled.settings.kafka_success_topic)) == published + 1


def test_another_pass_does_not_take_the_first_ones_rows_for_its_own(
    filled: Installation,
    spark: SparkSession,
    warehouse: Warehouse,
    scoring: Scoring,
    tmp_path: Path,
) -> None:
    """A lost checkpoint in the midst of it goes on with it."""
    whole = offsets(filled, 0, len(RECORDS))
    first, _ = open_delivery(filled.settings, spark, warehouse, scoring)
    first.start.records.write(replace(first.coverage, topic_id=topic_id(filled)))
    first.deliver(whole, "first", 0)
    for number, reprocess in enumerate((True, False)):
        checkpoint = Checkpoint(spark, str(tmp_path / str(number)))
        dying = CutOffWarehouse(warehouse.root, 2)
        start = start_at(filled, dying, checkpoint, reprocess=reprocess)
        assert start.coverage.generation == checkpoint.generation() == 1
        again, _ = open_delivery(filled.settings, spark, dying, scoring, start=start)
        with pytest.raises(CutOffError):
            again.deliver(whole, f"again {number}", 0)
    start = start_at(filled, warehouse, Checkpoint(spark, str(tmp_path / "last")))
    last, _ = open_delivery(filled.settings, spark, warehouse, scoring, start=start)
    last.deliver(whole, "last", 0)
    stored = filled.rows("scores") + filled.rows("rejects")
    assert Counter((row["generation"], row["source_offset"]) for row in stored) == dict.fromkeys(
        [(generation, offset) for generation in (0, 1) for offset in range(len(RECORDS))], 1
    )


def topic_id(installation: Installation) -> str:
    return installation.cluster.topic_id(installation.input_topic)


def _fail(*_: Any) -> None:
    raise CutOffError


def test_scores_that_were_stored_without_their_transactions_get_them(
    filled: Installation, spark: SparkSession, warehouse: Warehouse, scoring: Scoring
) -> None:
    ranges = offsets(filled, 0, len(RECORDS))
    settings = filled.settings.model_copy(update={"scorestream_transactions": "off"})
    lean, _ = open_delivery(settings, spark, warehouse, scoring)
    lean._record = _fail  # type: ignore[method-assign,assignment]
    with pytest.raises(CutOffError):
        lean.deliver(ranges, "run", 0)
    assert filled.rows("transactions") == []
    full, _ = open_delivery(filled.settings, spark, warehouse, scoring)
    full.deliver(ranges, "run", 0)
    check_tables(filled)
    check_published(filled)


def check_tables(installation: Installation) -> None:
    scores, rejects = installation.rows("scores"), installation.rows("rejects")
    stored = Counter(offsets_of(scores) + offsets_of(rejects))
    assert stored == dict.fromkeys([(0, offset) for offset in range(len(RECORDS))], 1)
    history = Counter(offsets_of(installation.rows("transactions")))
    assert history == {
        o: r["transaction_count"] for o, r in zip(offsets_of(scores), scores, strict=True)
    }


def check_published(installation: Installation) -> None:
    settings = installation.settings
    for topic, table in (
        (settings.kafka_success_topic, "scores"),
        (settings.kafka_failure_topic, "rejects"),
    ):
        check_kafka_equals(installation.messages(topic), installation.rows(table))


@pytest.mark.parametrize("window", ["rejects", "scores", "kafka"])
def test_a_warehouse_of_an_earlier_version_is_finished_by_a_new_checkpoint(
    window: str,
    filled: Installation,
    spark: SparkSession,
    warehouse: Warehouse,
    scoring: Scoring,
    tmp_path: Path,
) -> None:
    """There is no coverage, and the two runs before were cut off in their newest batches."""
    first, _ = open_delivery(filled.settings, spark, warehouse, scoring)
    first.deliver(offsets(filled, 0, 2), "run", 0)
    cut_off(window, filled, spark, scoring, offsets(filled, 2, 4), ("run", 1))
    cut_off(window, filled, spark, scoring, offsets(filled, 2, 7), ("another", 0))
    shutil.rmtree(warehouse.path(COVERAGE))
    warehouse.create_tables()

    checkpoint = Checkpoint(spark, str(tmp_path / "checkpoint"))
    start = start_at(filled, warehouse, checkpoint)
    # Of `another` no batch is proven, so that all is looked at; nothing of it is stored twice.
    assert start.coverage.starts.get(0, 0) == 0
    second, _ = open_delivery(filled.settings, spark, warehouse, scoring, start=start)
    second.deliver(offsets(filled, 0, len(RECORDS)), "last", 0)
    check_tables(filled)
    check_published(filled)


def spark_checkpoint(folder: Path, topic: str, ends: list[int], done: int) -> Path:
    """A checkpoint as Spark leaves it: batches up to these ends planned, and some of them done."""
    logs = {f"offsets/{n}": ["{}", json.dumps({topic: {"0": end}})] for n, end in enumerate(ends)}
    logs |= {f"commits/{n}": ["{}"] for n in range(done + 1)}
    logs["sources/0/0"] = [json.dumps({topic: {"0": 0}})]
    for name, lines in logs.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("\n".join(["v1", *lines]), encoding="ascii")
    (folder / "metadata").write_text(json.dumps({"id": "run"}), encoding="ascii")
    return folder


def test_a_checkpoint_of_an_earlier_version_goes_on_and_records_what_it_proves(
    filled: Installation,
    spark: SparkSession,
    warehouse: Warehouse,
    scoring: Scoring,
    tmp_path: Path,
) -> None:
    first, _ = open_delivery(filled.settings, spark, warehouse, scoring)
    first.deliver(offsets(filled, 0, 4), "run", 0)
    cut_off("scores", filled, spark, scoring, offsets(filled, 4, 7), ("run", 1))
    shutil.rmtree(warehouse.path(COVERAGE))
    warehouse.create_tables()
    topic = filled.input_topic
    folder = spark_checkpoint(tmp_path / "checkpoint", topic, [4, 7], done=0)
    old = {"topic": topic, "topic_id": topic_id(filled), "start": {}, "held": {}}
    (folder / "scorestream.json").write_text(json.dumps(old), encoding="ascii")

    for _ in range(2):
        checkpoint = Checkpoint(spark, str(folder))
        start = start_at(filled, warehouse, checkpoint)
        assert (start.coverage.starts, checkpoint.generation()) == ({0: 4}, 0)
    second, reports = open_delivery(filled.settings, spark, warehouse, scoring, start=start)
    second.deliver(offsets(filled, 4, 7), "run", 1)
    # One of the three was rejected before.
    assert [r.messages for r in reports] == [2]
    second.deliver(offsets(filled, 7, len(RECORDS)), "run", 2)
    check_tables(filled)
    check_published(filled)
    # The earlier version once more, which records nothing; then this one.
    spark_checkpoint(folder, topic, [4, 7, 9, 12], done=3)
    warehouse.mark(SCORES, ("run/scores", 3))
    start = start_at(filled, warehouse, Checkpoint(spark, str(folder)))
    assert start.coverage.starts == {0: 12}


def test_a_topic_that_was_recreated_is_refused_whatever_became_of_the_checkpoint(
    filled: Installation,
    spark: SparkSession,
    warehouse: Warehouse,
    scoring: Scoring,
    tmp_path: Path,
) -> None:
    records = open_coverage(warehouse, filled.settings)
    before = Coverage(filled.input_topic, "another", spans={0: Span(0, 2)})
    records.write(before.next(records.tables(0), settled=True))
    checkpoint = Checkpoint(spark, str(tmp_path / "checkpoint"))
    with pytest.raises(CheckpointError, match="was recreated since the warehouse holds some of it"):
        start_at(filled, warehouse, checkpoint)
    assert checkpoint.read_state() is None
    start = find_start(checkpoint, records, filled.cluster, reprocess=True, default="latest")
    assert (start.coverage.generation, start.coverage.starts) == (1, {0: len(RECORDS)})


def test_a_table_that_lost_commits_is_made_up_for(
    filled: Installation,
    spark: SparkSession,
    warehouse: Warehouse,
    scoring: Scoring,
    tmp_path: Path,
) -> None:
    """Two commits of `rejects`, and a start since that only moved its version on."""
    first, _ = open_delivery(filled.settings, spark, warehouse, scoring)
    shutil.copytree(warehouse.path(REJECTS), tmp_path / "older")
    for batch, (start, end) in enumerate([(0, 7), (7, len(RECORDS))]):
        first.deliver(offsets(filled, start, end), "run", batch)
    shutil.rmtree(warehouse.path(REJECTS))
    (tmp_path / "older").rename(warehouse.path(REJECTS))
    again = Warehouse(warehouse.root, CATALOG)
    again.fence = ("lease/stream", 9)
    for _ in range(9):
        again.fence_off(REJECTS)
    second, reports = open_delivery(filled.settings, spark, again, scoring)
    assert second.coverage.starts == {0: 0}
    second.deliver(offsets(filled, 0, len(RECORDS)), "another", 0)
    assert [(r.scores, r.rejects) for r in reports] == [(0, 3)]
    check_tables(filled)


def test_every_batch_is_noted_in_the_tables(
    filled: Installation, spark: SparkSession, warehouse: Warehouse, scoring: Scoring
) -> None:
    """By which a start knows whether checkpoint and tables belong together."""
    ranges = offsets(filled, 0, len(RECORDS))
    first, _ = open_delivery(filled.settings, spark, warehouse, scoring)
    first.deliver(ranges, "run", 0)
    # All of it is delivered already, so that there is nothing to write.
    second, _ = open_delivery(filled.settings, spark, warehouse, scoring)
    second.deliver(ranges, "another run", 0)
    assert warehouse.transaction_version(SCORES, "another run/scores") == 0
    check_tables(filled)


def test_a_batch_delivered_twice_is_committed_once(
    filled: Installation, spark: SparkSession, warehouse: Warehouse, scoring: Scoring
) -> None:
    delivery, _ = open_delivery(filled.settings, spark, warehouse, scoring)
    for _ in range(2):
        delivery.deliver(offsets(filled, 0, len(RECORDS)), "run", 0)
    check_tables(filled)


def test_offsets_that_are_gone_fail_the_batch(
    filled: Installation, spark: SparkSession, warehouse: Warehouse, scoring: Scoring
) -> None:
    admin = AdminClient(client_options(filled.settings))
    gone = TopicPartition(filled.input_topic, 0, 3)
    [deleted] = admin.delete_records([gone]).values()
    deleted.result()
    delivery, _ = open_delivery(filled.settings, spark, warehouse, scoring)
    with pytest.raises(PythonException, match=r"cannot be read: .*out of range"):
        delivery.deliver(offsets(filled, 0, len(RECORDS)), "run", 0)
    assert filled.rows("scores") == []


@pytest.mark.parametrize("wallet_messages", ["full", "incremental"])
def test_where_spark_tries_once_a_deadly_message_is_found_all_the_same(
    wallet_messages: str,
    filled: Installation,
    spark: SparkSession,
    warehouse: Warehouse,
    scoring: Scoring,
) -> None:
    spark.sparkContext.addPyFile(mortal.__file__)
    filled.publish([mortal.POISON])
    settings = filled.settings.model_copy(update={"wallet_messages": wallet_messages})
    deadly = Scoring.of("dex-v1", mortal.Mortal(configured_dex_v1().config))
    delivery, _ = open_delivery(settings, spark, warehouse, deadly)
    delivery.deliver(offsets(filled, 0, len(RECORDS) + 1), "run", 0)
    rejects = {row["source_offset"]: row["error_code"] for row in filled.rows("rejects")}
    assert (len(rejects), rejects[len(RECORDS)]) == (4, "unscorable")
    assert len(filled.rows("scores")) == 6


def test_a_whale_and_bad_messages_share_a_batch_with_others(
    installation: Installation, spark: SparkSession, warehouse: Warehouse, scoring: Scoring
) -> None:
    whale, golden = Workload(1, whales=1).records(), golden_records()
    installation.publish([*golden[:20], *whale, *broken_records(), *golden[20:]])
    start = start_over(warehouse, installation.settings)
    delivery, reports = open_delivery(installation.settings, spark, warehouse, scoring, start=start)
    ends = installation.cluster.end_offsets(installation.input_topic)
    topic = installation.input_topic
    delivery.deliver([OffsetRange(topic, p, 0, end) for p, end in ends.items()], "run", 0)
    assert reports[0].scores == len(golden) + 1
    expected = {(g.wallet, g.as_of): g.expected for g in golden_wallets()}
    for row in installation.rows("scores"):
        if row["transaction_count"] == WHALE_TRANSACTIONS:
            message = json.loads(whale[0].value or b"")
            final = final_score(message, row["as_of"])
            assert row["final_score"] == pytest.approx(final, rel=1e-9)
        else:
            key = (row["wallet_address"], row["as_of"])
            assert differences(row, expected[key]) == []
    check_published(installation)
