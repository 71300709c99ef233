"""Messages that carry only what is new: stream, backfill and the whole list give one score."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable, WriterProperties
from pyspark.sql import SparkSession

from scorestream.infra.config.settings import Settings
from scorestream.infra.delivery.delivery import Delivery
from scorestream.infra.delta.warehouse import Warehouse
from scorestream.infra.kafka.consumer import OffsetRange
from scorestream.infra.kafka.producer import Record
from scorestream.wallets.backfill.job import run_backfill
from scorestream.wallets.backfill.planning import BackfillOptions
from scorestream.wallets.core.scoring import Scoring
from scorestream.wallets.execution import history_lookup
from scorestream.wallets.execution.history_lookup import wallet_files
from scorestream.wallets.schema.tables import SCORES, TRANSACTIONS
from scorestream.wallets.schema.views import CATALOG
from tools.testkit.golden import SCORED_COLUMNS, differences
from tools.testkit.increments import (
    check_last_scores,
    eligible,
    increments,
    out_of_order,
    parts,
    record,
)
from tools.testkit.installation import Installation
from tools.testkit.streams import create_input_topic, open_delivery

pytestmark = [pytest.mark.spark, pytest.mark.broker]


class Stream:
    """A topic, and the batches of a stream over it."""

    def __init__(
        self,
        installation: Installation,
        spark: SparkSession,
        warehouse: Warehouse,
        scoring: Scoring,
    ) -> None:
        self.installation = installation
        self.settings = installation.settings.model_copy(update={"wallet_messages": "incremental"})
        self.delivery, self.reports = open_delivery(self.settings, spark, warehouse, scoring)

    def publish(self, records: list[Record]) -> list[OffsetRange]:
        """Publish, and the ranges of what was published."""
        topic = self.installation.input_topic
        cluster = self.installation.cluster
        before = cluster.end_offsets(topic)
        self.installation.publish(records)
        ends = cluster.end_offsets(topic)
        return [OffsetRange(topic, p, before[p], end) for p, end in ends.items()]


@pytest.fixture
def topic(installation: Installation) -> Installation:
    create_input_topic(installation, partitions=2)
    return installation


@pytest.fixture
def stream(
    topic: Installation, spark: SparkSession, warehouse: Warehouse, scoring: Scoring
) -> Stream:
    return Stream(topic, spark, warehouse, scoring)


def scores(warehouse: Warehouse, run_id: str) -> list[str]:
    found = [row for row in warehouse.rows(SCORES) if row["run_id"] == run_id]
    return sorted(str({name: row[name] for name in SCORED_COLUMNS}) for row in found)


def test_stream_and_backfills_agree_with_the_whole_list(
    stream: Stream, warehouse: Warehouse, tmp_path: Path
) -> None:
    batches = increments()
    for number, batch in enumerate(batches):
        stream.delivery.deliver(stream.publish(batch), "stream", number)
    check_last_scores(warehouse.rows(SCORES))
    assert [report.corrected for report in stream.reports] == [0, 0, len(eligible())]

    settings = stream.settings
    run_backfill(BackfillOptions("transactions", run_id="history"), settings)
    assert scores(warehouse, "history") == scores(warehouse, "stream")

    other = Warehouse(str(tmp_path / "other"), CATALOG)
    path = tmp_path / "increments.jsonl"
    dated = [
        {"as_of": (r.timestamp or 0) // 1000, "message": json.loads(r.value or b"")}
        for batch in batches
        for r in batch
    ]
    path.write_text("\n".join(map(json.dumps, [*dated, "nonsense"])), encoding="utf-8")
    elsewhere = settings.model_copy(update={"scorestream_warehouse": other.root})
    run_backfill(BackfillOptions(str(path), run_id="files"), elsewhere)
    assert scores(other, "files") == scores(warehouse, "stream")
    assert len(other.rows(TRANSACTIONS)) == len(
        [r for r in warehouse.rows(TRANSACTIONS) if r["run_id"] == "stream"]
    )


def test_clustered_files_are_looked_up_as_scattered_ones(
    stream: Stream, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, third = increments()
    stream.delivery.deliver(stream.publish(first), "stream", 0)
    stream.delivery.deliver(stream.publish(second), "stream", 1)
    DeltaTable(warehouse.path(TRANSACTIONS)).optimize.z_order(
        ["wallet_key"], writer_properties=WriterProperties(max_row_group_size=64)
    )
    files = wallet_files(warehouse)
    keys = [row["wallet_key"] for row in warehouse.rows(TRANSACTIONS)]
    whole = history_lookup.read_wallets(files, keys)
    monkeypatch.setattr(history_lookup, "SMALL_ROWS", 0)
    for golden in eligible():
        key = golden.wallet.lower()
        ours = [row for row in whole.to_pylist() if row["wallet_key"] == key]
        found = history_lookup.read_wallets(files, [key]).to_pylist()
        assert sorted(map(str, found)) == sorted(map(str, ours))
        assert found
    stream.delivery.deliver(stream.publish(third), "stream", 2)
    check_last_scores(warehouse.rows(SCORES))


def test_late_transactions_change_later_scores_and_are_counted(
    stream: Stream, warehouse: Warehouse
) -> None:
    first, _, _ = increments()
    golden = eligible()[0]
    pieces = parts(golden)
    latest = int(pieces[2][-1]["timestamp"])
    batches = [
        [record(golden.wallet, pieces[0], latest)],
        # A part that is older than a score that was made; then a message that comes late itself.
        [record(golden.wallet, pieces[2], golden.as_of - 1)],
        [record(golden.wallet, pieces[1], latest - 1)],
        [record(golden.wallet, pieces[1][:1], golden.as_of)],
    ]
    for number, batch in enumerate(batches):
        stream.delivery.deliver(stream.publish(batch), "stream", number)
    check_last = [r for r in warehouse.rows(SCORES) if r["as_of"] == golden.as_of]
    assert [differences(row, golden.expected) for row in check_last] == [[]]
    assert [report.late for report in stream.reports] == [0, len(pieces[2]), len(pieces[1]), 0]
    assert first


def test_what_comes_too_early_for_a_score_counts_later(
    stream: Stream, warehouse: Warehouse
) -> None:
    batches = out_of_order()
    for number, batch in enumerate(batches):
        stream.delivery.deliver(stream.publish(batch), "stream", number)
    early = len(eligible())
    codes = [report.rejects_by_code for report in stream.reports]
    assert codes == [{}, {"nothing_yet": early}, {}, {}]
    check_last_scores([row for row in warehouse.rows(SCORES) if row["batch_id"] == 3])
    run_backfill(BackfillOptions("transactions", run_id="history"), stream.settings)
    again = [row for row in warehouse.rows(SCORES) if row["run_id"] == "history"]
    check_last_scores(again)
    assert len(again) == 3 * early


class CutOffError(Exception):
    """What stands for a crash."""


@pytest.mark.parametrize("survives", [1, 2, 3])
def test_a_batch_that_was_cut_off_is_finished(
    survives: int,
    topic: Installation,
    spark: SparkSession,
    warehouse: Warehouse,
    scoring: Scoring,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, second, third = increments()
    broken = [Record(None, b"nonsense", 1000), record("ahead", [parts(eligible()[0])[0][0]], 1)]
    stream = Stream(topic, spark, warehouse, scoring)
    stream.delivery.deliver(stream.publish(first), "stream", 0)
    ranges = stream.publish([*second, *broken])
    whole = Warehouse.append
    commits = 0

    def append(self: Warehouse, *arguments: Any, **options: Any) -> None:
        nonlocal commits
        commits += 1
        if commits > survives:
            raise CutOffError
        whole(self, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Warehouse, "append", append)
        patch.setattr(Delivery, "_publish", _fail)
        with pytest.raises(CutOffError):
            stream.delivery.deliver(ranges, "stream", 1)
    again = Stream(topic, spark, warehouse, scoring)
    again.delivery.deliver(ranges, "stream", 1)
    again.delivery.deliver(again.publish(third), "stream", 2)
    check_last_scores(warehouse.rows(SCORES))
    messages = len(first) + len(second) + len(third) + len(broken)
    stored = [*topic.rows("scores"), *topic.rows("rejects")]
    sources = {(row["source_partition"], row["source_offset"]) for row in stored}
    assert len(sources) == len(stored) == messages
    codes = sorted(row["error_code"] for row in topic.rows("rejects"))
    assert codes == ["invalid_json", "nothing_yet"]
    history = topic.rows("transactions")
    assert len([row for row in history if row["wallet_address"] == "ahead"]) == 1
    keys = ("source_partition", "source_offset", "document_id")
    assert len({tuple(row[name] for name in keys) for row in history}) == len(history)


def _fail(*_: Any) -> None:
    raise CutOffError


def test_incremental_messages_need_the_history() -> None:
    with pytest.raises(ValueError, match="incremental needs SCORESTREAM_TRANSACTIONS=on"):
        Settings(wallet_messages="incremental", scorestream_transactions="off")
