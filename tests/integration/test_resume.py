"""A batch that was cut off at any point is finished by the next start, from what is stored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession

from delivery_checks import check_kafka_equals
from golden import broken_records, golden_records
from installation import Installation, offsets_of
from kafka_frames import kafka_frame
from scorestream.core.dex_v1 import DexV1
from scorestream.io.delta import Warehouse
from scorestream.streaming import delivery
from scorestream.streaming.checkpoint import StreamState
from scorestream.streaming.delivery import Delivery
from scorestream.streaming.metrics import BatchSummary
from scorestream.streaming.start import Start

pytestmark = [pytest.mark.spark, pytest.mark.broker]

RECORDS = golden_records()[:6] + broken_records()[:3]


class CutOffError(Exception):
    """What stands for a crash."""


class CutOffWarehouse(Warehouse):
    """A warehouse whose process "dies" before its n-th append."""

    def __init__(self, spark: SparkSession, root: str, survives: int) -> None:
        super().__init__(spark, root)
        self.survives = survives

    def append(self, *arguments: Any) -> None:
        if self.survives == 0:
            raise CutOffError
        self.survives -= 1
        super().append(*arguments)


@pytest.fixture(autouse=True)
def query(spark: SparkSession) -> Iterator[None]:
    """The thread looks like that of a streaming query."""
    spark.sparkContext.setLocalProperty("sql.streaming.queryId", "run")
    yield
    spark.sparkContext.setLocalProperty("sql.streaming.queryId", "")


def deliverer(
    installation: Installation, warehouse: Warehouse, model: DexV1, start: Start
) -> tuple[Delivery, list[BatchSummary]]:
    reports: list[BatchSummary] = []
    code = "2" if start.may_repeat else "1"
    made = Delivery(
        installation.settings, warehouse, model, code, start, lambda _spark: None, reports.append
    )
    return made, reports


def fresh(**state: Any) -> Start:
    return Start(StreamState(topic="in", topic_id="id", **state), may_repeat=False)


@pytest.mark.parametrize("survives", [0, 1, 2, 3])
def test_a_batch_cut_off_between_the_sinks_is_finished_from_what_is_stored(
    survives: int,
    installation: Installation,
    warehouse: Warehouse,
    model: DexV1,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    installation.cluster.ensure_topics()
    frame = kafka_frame(warehouse.spark, RECORDS)
    cut_off = CutOffWarehouse(warehouse.spark, warehouse.root, survives)
    first, _ = deliverer(installation, cut_off, model, fresh())
    with monkeypatch.context() as patch:
        patch.setattr(delivery, "write_records", _fail)
        with pytest.raises(CutOffError):
            first(frame, 0)

    # Since then the code has changed: what is stored counts, only the rest is scored by it.
    other = model.config.model_copy(update={"stable_symbols": frozenset({"XXX"})})
    again = Start(fresh().state, may_repeat=True)
    second, reports = deliverer(installation, warehouse, DexV1(other), again)
    second(frame, 0)

    check_tables(installation)
    code = "1" if survives == 3 else "2"
    assert {r["code_version"] for r in installation.rows("scores")} == {code}
    assert [r.scores for r in reports] == [0 if survives == 3 else 6]
    check_published(installation)


def _fail(*_: Any) -> None:
    raise CutOffError


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
    installation: Installation, warehouse: Warehouse, model: DexV1
) -> None:
    installation.cluster.ensure_topics()
    spark = warehouse.spark
    first, _ = deliverer(installation, warehouse, model, fresh())
    first(kafka_frame(spark, RECORDS[:4]), 0)

    spark.sparkContext.setLocalProperty("sql.streaming.queryId", "another run")
    second, reports = deliverer(installation, warehouse, model, fresh(held={0: 3}))
    second(_from(spark, 2, 6), 0)
    second(_from(spark, 6, len(RECORDS)), 1)
    assert [r.messages for r in reports] == [2, len(RECORDS) - 6]
    check_tables(installation)
    check_published(installation)


def _from(spark: SparkSession, start: int, end: int) -> DataFrame:
    return kafka_frame(spark, RECORDS[start:end], first_offset=start)
