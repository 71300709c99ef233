"""A batch that was cut off at any point is finished by the next start, from what is stored."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from benchmarks.workload import WHALE_TRANSACTIONS, Workload
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from pyspark.errors import PythonException
from pyspark.sql import SparkSession

import mortal
from delivery_checks import check_kafka_equals
from golden import broken_records, differences, golden_records, golden_wallets
from installation import Installation, offsets_of
from reference_dex_v1 import final_score
from scorestream.core.dex_v1 import DexV1
from scorestream.io.delta.warehouse import Warehouse
from scorestream.io.kafka.connection import client_options
from scorestream.io.kafka.fetching import OffsetRange
from scorestream.serving.serving import Serving
from scorestream.serving.watching import Unwatched
from scorestream.streaming.checkpoint import Checkpoint, StreamState
from scorestream.streaming.delivery import Delivery
from scorestream.streaming.metrics import BatchSummary
from scorestream.streaming.start import Start, starting_state
from scorestream.tables import SCORES

pytestmark = [pytest.mark.spark, pytest.mark.broker]

RECORDS = golden_records()[:6] + broken_records()[:3]


class CutOffError(Exception):
    """What stands for a crash."""


class CutOffWarehouse(Warehouse):
    """A warehouse whose process "dies" before its n-th commit."""

    def __init__(self, root: str, survives: int) -> None:
        super().__init__(root)
        self.survives = survives

    def append(self, *arguments: Any, **options: Any) -> None:
        if self.survives == 0:
            raise CutOffError
        self.survives -= 1
        super().append(*arguments, **options)


def deliverer(
    installation: Installation,
    spark: SparkSession,
    warehouse: Warehouse,
    model: DexV1,
    start: Start,
) -> tuple[Delivery, list[BatchSummary]]:
    reports: list[BatchSummary] = []
    code = "2" if start.may_repeat else "1"
    settings = installation.settings
    return (
        Delivery(
            settings,
            spark,
            warehouse,
            model,
            code,
            start,
            lambda _: None,
            reports.append,
            lambda: None,
            Serving((), settings, Unwatched()),
        ),
        reports,
    )


def fresh(installation: Installation, **state: Any) -> Start:
    topic = installation.input_topic
    return Start(StreamState(topic=topic, topic_id="id", **state), may_repeat=False)


def offsets(installation: Installation, start: int, end: int) -> list[OffsetRange]:
    return [OffsetRange(installation.input_topic, 0, start, end)]


@pytest.fixture
def filled(installation: Installation, warehouse: Warehouse) -> Installation:
    """The records in partition 0 of the input topic, over empty tables."""
    settings = installation.settings
    admin = AdminClient(client_options(settings))
    admin.create_topics([NewTopic(installation.input_topic, 1)])[installation.input_topic].result()
    installation.publish(RECORDS)
    assert warehouse.root == settings.warehouse
    return installation


@pytest.mark.parametrize("survives", [0, 1, 2, 3])
def test_a_batch_cut_off_between_the_sinks_is_finished_from_what_is_stored(
    survives: int,
    filled: Installation,
    spark: SparkSession,
    warehouse: Warehouse,
    model: DexV1,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ranges = offsets(filled, 0, len(RECORDS))
    cut_off = CutOffWarehouse(warehouse.root, survives)
    first, _ = deliverer(filled, spark, cut_off, model, fresh(filled))
    with monkeypatch.context() as patch:
        patch.setattr(Delivery, "_publish", _fail)
        with pytest.raises(CutOffError):
            first.deliver(ranges, "run", 0)

    # Since then the code has changed: what is stored counts, only the rest is scored by it.
    other = model.config.model_copy(update={"stable_symbols": frozenset({"XXX"})})
    again = Start(fresh(filled).state, may_repeat=True)
    second, reports = deliverer(filled, spark, warehouse, DexV1(other), again)
    second.deliver(ranges, "run", 0)

    check_tables(filled)
    code = "1" if survives == 3 else "2"
    assert {r["code_version"] for r in filled.rows("scores")} == {code}
    assert [r.scores for r in reports] == [0 if survives == 3 else 6]
    check_published(filled)


def _fail(*_: Any) -> None:
    raise CutOffError


def test_scores_that_were_stored_without_their_transactions_get_them(
    filled: Installation, spark: SparkSession, warehouse: Warehouse, model: DexV1
) -> None:
    ranges = offsets(filled, 0, len(RECORDS))
    lean, _ = deliverer(filled, spark, warehouse, model, fresh(filled))
    lean.settings = lean.settings.model_copy(update={"scorestream_transactions": "off"})
    lean.deliver(ranges, "run", 0)
    assert filled.rows("transactions") == []
    again = Start(fresh(filled).state, may_repeat=True)
    full, _ = deliverer(filled, spark, warehouse, model, again)
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


def test_a_new_checkpoint_scores_only_what_the_warehouse_lacks(
    filled: Installation, spark: SparkSession, warehouse: Warehouse, model: DexV1
) -> None:
    first, _ = deliverer(filled, spark, warehouse, model, fresh(filled))
    first.deliver(offsets(filled, 0, 4), "run", 0)

    second, reports = deliverer(filled, spark, warehouse, model, fresh(filled, held={0: 3}))
    second.deliver(offsets(filled, 2, 6), "another run", 0)
    second.deliver(offsets(filled, 6, len(RECORDS)), "another run", 1)
    assert [r.messages for r in reports] == [2, len(RECORDS) - 6]
    check_tables(filled)
    check_published(filled)


@pytest.mark.parametrize("survives", [1, 2, 3])
def test_a_new_checkpoint_finishes_a_batch_that_was_cut_off_between_the_tables(
    survives: int,
    filled: Installation,
    spark: SparkSession,
    warehouse: Warehouse,
    model: DexV1,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cut_off = CutOffWarehouse(warehouse.root, survives)
    first, _ = deliverer(filled, spark, cut_off, model, fresh(filled))
    with monkeypatch.context() as patch:
        patch.setattr(Delivery, "_publish", _fail)
        with pytest.raises(CutOffError):
            first.deliver(offsets(filled, 0, len(RECORDS)), "run", 0)

    checkpoint = Checkpoint(spark, str(tmp_path / "checkpoint"))
    start = starting_state(spark, checkpoint, warehouse, filled.cluster, reprocess=False)
    second, _ = deliverer(filled, spark, warehouse, model, start)
    second.deliver(offsets(filled, 0, len(RECORDS)), "another run", 0)
    check_tables(filled)
    check_published(filled)


def test_every_batch_is_noted_in_the_tables(
    filled: Installation, spark: SparkSession, warehouse: Warehouse, model: DexV1
) -> None:
    """By which a start knows whether checkpoint and tables belong together."""
    ranges = offsets(filled, 0, len(RECORDS))
    first, _ = deliverer(filled, spark, warehouse, model, fresh(filled))
    first.deliver(ranges, "run", 0)
    # All of it is held already, so that there is nothing to write.
    held = fresh(filled, held={0: len(RECORDS)})
    second, _ = deliverer(filled, spark, warehouse, model, held)
    second.deliver(ranges, "another run", 0)
    assert warehouse.transaction_version(SCORES, "another run/scores") == 0
    check_tables(filled)


def test_a_batch_delivered_twice_is_committed_once(
    filled: Installation, spark: SparkSession, warehouse: Warehouse, model: DexV1
) -> None:
    delivery, _ = deliverer(filled, spark, warehouse, model, fresh(filled))
    for _ in range(2):
        delivery.deliver(offsets(filled, 0, len(RECORDS)), "run", 0)
    check_tables(filled)


def test_offsets_that_are_gone_fail_the_batch(
    filled: Installation, spark: SparkSession, warehouse: Warehouse, model: DexV1
) -> None:
    admin = AdminClient(client_options(filled.settings))
    gone = TopicPartition(filled.input_topic, 0, 3)
    [deleted] = admin.delete_records([gone]).values()
    deleted.result()
    delivery, _ = deliverer(filled, spark, warehouse, model, fresh(filled))
    with pytest.raises(PythonException, match=r"cannot be read: .*out of range"):
        delivery.deliver(offsets(filled, 0, len(RECORDS)), "run", 0)
    assert filled.rows("scores") == []


@pytest.mark.parametrize("wallet_messages", ["full", "incremental"])
def test_where_spark_tries_once_a_deadly_message_is_found_all_the_same(
    wallet_messages: str,
    filled: Installation,
    spark: SparkSession,
    warehouse: Warehouse,
    model: DexV1,
) -> None:
    spark.sparkContext.addPyFile(mortal.__file__)
    filled.publish([mortal.POISON])
    delivery, _ = deliverer(filled, spark, warehouse, mortal.Mortal(model.config), fresh(filled))
    delivery.settings = filled.settings.model_copy(update={"wallet_messages": wallet_messages})
    delivery.deliver(offsets(filled, 0, len(RECORDS) + 1), "run", 0)
    rejects = {row["source_offset"]: row["error_code"] for row in filled.rows("rejects")}
    assert (len(rejects), rejects[len(RECORDS)]) == (4, "unscorable")
    assert len(filled.rows("scores")) == 6


def test_a_whale_and_bad_messages_share_a_batch_with_others(
    installation: Installation, spark: SparkSession, warehouse: Warehouse, model: DexV1
) -> None:
    whale, golden = Workload(1, whales=1).records(), golden_records()
    installation.publish([*golden[:20], *whale, *broken_records(), *golden[20:]])
    delivery, reports = deliverer(installation, spark, warehouse, model, fresh(installation))
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
