"""Several scorings in one stream: each message has one answer of each, whatever is cut off."""

from __future__ import annotations

from collections import Counter

import pytest
from pyspark.sql import SparkSession

from scorestream.infra.delivery.delivery import Delivery
from scorestream.infra.delta.warehouse import Warehouse
from scorestream.infra.kafka.consumer import OffsetRange
from scorestream.wallets.core.scoring import Scoring
from scorestream.wallets.schema.views import CATALOG
from scorestream.wallets.scorers.dex_v1.scorer import DexV1
from tools.testkit.delivery_checks import check_kafka_equals
from tools.testkit.golden import (
    broken_records,
    configured_dex_v1,
    differences,
    golden_records,
    golden_wallets,
)
from tools.testkit.installation import Installation, offsets_of
from tools.testkit.streams import create_input_topic, open_delivery

pytestmark = [pytest.mark.spark, pytest.mark.broker]

GOLDEN = 6
RECORDS = golden_records()[:GOLDEN] + broken_records()[:3]
OFFSETS = range(len(RECORDS))


class CutOffError(Exception):
    """What stands for a crash."""


def _fail(*_: object, **__: object) -> None:
    raise CutOffError


@pytest.fixture
def huge() -> Scoring:
    """`dex-v1`, but that the score of a provider of liquidity is not finite."""
    config = configured_dex_v1().config
    final = config.final.model_copy(update={"lp_weight": 1e308})
    return Scoring.of("huge", DexV1(config.model_copy(update={"name": "huge", "final": final})))


@pytest.fixture
def filled(installation: Installation, warehouse: Warehouse) -> Installation:
    create_input_topic(installation, partitions=1)
    installation.publish(RECORDS)
    assert warehouse.root == installation.settings.warehouse
    return installation


def check(installation: Installation, scorings: tuple[Scoring, ...]) -> None:
    """Each message has one answer of each scoring; its transactions are stored once."""
    scores, rejects = installation.rows("scores"), installation.rows("rejects")
    answers = Counter((row["source_offset"], row["scoring"]) for row in [*scores, *rejects])
    assert set(answers.values()) == {1}
    names = {scoring.name for scoring in scorings}
    found = {offset: {s for o, s in answers if o == offset} for offset in OFFSETS}
    assert all(found[offset] == (names if offset < GOLDEN else {None}) for offset in OFFSETS)
    for row in (row for row in scores if row["scoring"] == "dex-v1"):
        assert differences(row, golden_wallets()[row["source_offset"]].expected) == []
    count = {row["source_offset"]: row["transaction_count"] for row in scores}
    assert Counter(o for _, o in offsets_of(installation.rows("transactions"))) == count
    settings = installation.settings
    check_kafka_equals(installation.messages(settings.kafka_success_topic), scores)
    check_kafka_equals(installation.messages(settings.kafka_failure_topic), rejects)


@pytest.mark.parametrize("window", ["transactions", "rejects", "scores", "kafka", "coverage"])
@pytest.mark.parametrize("count", [1, 2])
def test_a_batch_of_several_scorings_that_was_cut_off_is_finished(
    window: str,
    count: int,
    filled: Installation,
    spark: SparkSession,
    scoring: Scoring,
    huge: Scoring,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Before a commit, before Kafka, before the coverage; by both scorings, or one before both."""
    ranges = [OffsetRange(filled.input_topic, 0, 0, len(RECORDS))]
    commits = iter(range(3))
    append = Warehouse.append

    def dying(*arguments: object, **options: object) -> None:
        if next(commits) == ["transactions", "rejects", "scores"].index(window):
            raise CutOffError
        append(*arguments, **options)  # type: ignore[arg-type]

    warehouse = Warehouse(filled.settings.warehouse, CATALOG)
    first, _ = open_delivery(filled.settings, spark, warehouse, *[scoring, huge][:count])
    with monkeypatch.context() as patch:
        if window in {"kafka", "coverage"}:
            patch.setattr(Delivery, "_publish" if window == "kafka" else "_record", _fail)
        else:
            patch.setattr(Warehouse, "append", dying)
        with pytest.raises(CutOffError):
            first.deliver(ranges, "run", 0)
    warehouse = Warehouse(filled.settings.warehouse, CATALOG)
    second, reports = open_delivery(filled.settings, spark, warehouse, scoring, huge)
    second.deliver(ranges, "run", 0)
    check(filled, (scoring, huge))
    [report] = reports
    # What is stored already is not counted again.
    assert report.messages <= len(RECORDS)


def test_the_report_of_a_batch_counts_messages_once(
    filled: Installation,
    spark: SparkSession,
    warehouse: Warehouse,
    scoring: Scoring,
    huge: Scoring,
) -> None:
    both, reports = open_delivery(filled.settings, spark, warehouse, scoring, huge)
    both.deliver([OffsetRange(filled.input_topic, 0, 0, len(RECORDS))], "run", 0)
    [report] = reports
    assert (report.messages, sum(report.ages.values())) == (len(RECORDS), len(RECORDS))
    scores, rejects = filled.rows("scores"), filled.rows("rejects")
    assert (report.scores, report.rejects) == (len(scores), len(rejects))
    assert report.scores + report.rejects == 2 * GOLDEN + 3
    failed = [row for row in rejects if row["scoring"] == "huge"]
    assert failed
    assert {row["error_code"] for row in failed} == {"non_finite_result"}
    assert report.transactions == len(filled.rows("transactions"))


def test_messages_of_new_transactions_are_scored_over_the_history_by_each_scoring(
    filled: Installation,
    spark: SparkSession,
    warehouse: Warehouse,
    scoring: Scoring,
    huge: Scoring,
) -> None:
    settings = filled.settings.model_copy(update={"wallet_messages": "incremental"})
    for batch, (start, end) in enumerate([(0, 4), (4, len(RECORDS))]):
        delivery, _ = open_delivery(settings, spark, warehouse, scoring, huge)
        delivery.deliver([OffsetRange(filled.input_topic, 0, start, end)], "run", batch)
    check(filled, (scoring, huge))
