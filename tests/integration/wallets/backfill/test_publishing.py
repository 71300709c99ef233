"""Backfills that publish: what is committed reaches Kafka, also after a crash."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from pyspark.sql import SparkSession

from scorestream.infra.delivery import publishing
from scorestream.infra.delivery.publishing import publish, written_files
from scorestream.infra.delta.warehouse import Warehouse
from scorestream.infra.errors import TooLargeError
from scorestream.infra.kafka.connection import client_options
from scorestream.infra.kafka.producer import Record
from scorestream.wallets.backfill import json_lines
from scorestream.wallets.backfill.job import run_backfill
from scorestream.wallets.backfill.planning import BackfillOptions
from scorestream.wallets.backfill.publishing import Publishing
from scorestream.wallets.core.scoring import Scoring
from scorestream.wallets.execution.published_results import result_publications
from scorestream.wallets.execution.scoring_task import score_records, write_scored
from scorestream.wallets.execution.table_rows import BatchFacts
from tools.testkit.delivery_checks import check_kafka_equals
from tools.testkit.golden import broken_records, golden_records, golden_wallets
from tools.testkit.installation import Installation
from tools.testkit.records import records_of

pytestmark = [pytest.mark.spark, pytest.mark.broker]


@pytest.fixture
def options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BackfillOptions:
    """A backfill of several chunks, with rejects."""
    dated = [
        json.dumps({"as_of": g.as_of, "message": g.message}).encode() for g in golden_wallets()
    ]
    bad = [(r.value or b"").replace(b"\n", b" ") for r in broken_records()[:3]]
    path = tmp_path / "messages.jsonl"
    path.write_bytes(b"\n".join([*dated, *bad]))
    monkeypatch.setattr(json_lines, "MIN_SPLIT_BYTES", 1)
    monkeypatch.setattr(json_lines, "MAX_SPLIT_BYTES", path.stat().st_size // 7)
    return BackfillOptions(str(path), run_id="published", publish=1e6)


def check_published(installation: Installation, *, repeats: bool) -> None:
    settings = installation.settings
    for topic, table in (
        (settings.kafka_success_topic, "scores"),
        (settings.kafka_failure_topic, "rejects"),
    ):
        messages = installation.messages(topic)
        assert messages
        check_kafka_equals(messages, installation.rows(table))
        if not repeats:
            assert len(messages) == len(installation.rows(table))


def test_results_are_published_once_and_not_again(
    installation: Installation, warehouse: Warehouse, options: BackfillOptions
) -> None:
    assert warehouse.root == installation.settings.warehouse
    for _ in range(2):
        run_backfill(options, installation.settings)
    check_published(installation, repeats=False)


def test_a_rate_may_take_longer_than_a_task_may_stand_still(
    installation: Installation, warehouse: Warehouse, tmp_path: Path
) -> None:
    golden = [{"as_of": g.as_of, "message": g.message} for g in golden_wallets()]
    path = tmp_path / "messages.jsonl"
    path.write_text("\n".join(map(json.dumps, golden)), encoding="utf-8")
    still, seconds = 5.0, 12.0
    settings = installation.settings.model_copy(update={"scorestream_task_seconds": still})
    options = BackfillOptions(str(path), run_id="slow", publish=len(golden) / seconds)
    run_backfill(options, settings)
    check_kafka_equals(
        installation.messages(settings.kafka_success_topic), installation.rows("scores")
    )
    assert len(installation.rows("scores")) == len(golden)
    assert not Path(warehouse.root, "_checkpoints/backfill_scores/slow.progress").exists()


class CutOffError(Exception):
    """What stands for a crash."""


@pytest.mark.parametrize("survives", [0, 1])
def test_a_chunk_that_was_committed_is_published_by_the_next_start(
    survives: int,
    installation: Installation,
    warehouse: Warehouse,
    options: BackfillOptions,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    published = 0

    def publish(self: Publishing, *arguments: Any) -> None:
        nonlocal published
        published += 1
        if published > survives:
            raise CutOffError
        whole(self, *arguments)

    whole = Publishing.publish
    with monkeypatch.context() as patch:
        patch.setattr(Publishing, "publish", publish)
        with pytest.raises(CutOffError):
            run_backfill(options, installation.settings)
    assert 0 < len(installation.rows("scores")) < len(golden_wallets())
    run_backfill(options, installation.settings)
    check_published(installation, repeats=True)


def test_what_is_too_large_is_told_after_all_others_were_sent(
    installation: Installation, warehouse: Warehouse, scoring: Scoring, spark: SparkSession
) -> None:
    settings = installation.settings
    limits = {settings.kafka_success_topic: "500", settings.kafka_failure_topic: "1000000"}
    new = [NewTopic(name, 1, config={"max.message.bytes": n}) for name, n in limits.items()]
    admin = AdminClient(client_options(settings))
    for created in admin.create_topics(new).values():
        created.result()
    files = []
    for number in range(2):
        facts = BatchFacts("run", number, 1.0, code_version="test")
        records = records_of([*golden_records()[:2], *broken_records()[:3]], 10 * number)
        scored = score_records([records], (scoring,), include_transactions=True)
        written = write_scored(scored, warehouse.root, facts, include_transactions=True).files
        files += written_files(warehouse, result_publications(settings), written)
    with pytest.raises(TooLargeError, match=r"^2 records .* max.message.bytes \(.* 1 more files"):
        publish(spark, settings, files)
    sent = {str(m.value["source"]) for m in installation.messages(settings.kafka_failure_topic)}
    assert len(sent) == 6


def test_records_are_paced(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    monkeypatch.setattr(time, "monotonic", lambda: now)
    monkeypatch.setattr(time, "sleep", sleep)
    records = [Record(None, b"") for _ in range(101)]
    assert len(list(publishing._paced(records, 50))) == 101
    assert now == pytest.approx(2.0)
