"""Backfill equals stream; a run that was cut off goes on; nothing is written twice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from scorestream.infra.config.settings import Settings
from scorestream.infra.delta.optimize import OptimizeOptions
from scorestream.infra.delta.table import Table
from scorestream.infra.delta.warehouse import Warehouse
from scorestream.infra.errors import BackfillError, ConfigurationError
from scorestream.wallets.backfill import json_lines, sorting
from scorestream.wallets.backfill.job import run_backfill
from scorestream.wallets.backfill.planning import BackfillOptions
from scorestream.wallets.core.scoring import Scoring
from scorestream.wallets.execution.scoring_task import commit_files, score_records, write_scored
from scorestream.wallets.execution.table_rows import BatchFacts
from scorestream.wallets.maintenance.compact_tables import compact_tables
from scorestream.wallets.schema.tables import SCORES, TRANSACTIONS
from tools.testkit.golden import (
    SCORED_COLUMNS,
    broken_records,
    differences,
    golden_records,
    golden_wallets,
)
from tools.testkit.records import records_of

pytestmark = pytest.mark.spark


@pytest.fixture
def settings(warehouse: Warehouse) -> Settings:
    return Settings(scorestream_warehouse=warehouse.root)


@pytest.fixture
def golden_file(tmp_path: Path) -> Path:
    path = tmp_path / "golden.jsonl"
    dated = [{"as_of": g.as_of, "message": g.message} for g in golden_wallets()]
    path.write_text("\n".join(map(json.dumps, dated)), encoding="utf-8")
    return path


def rows(warehouse: Warehouse, table: Table = SCORES, **where: Any) -> list[dict[str, Any]]:
    found = warehouse.rows(table)
    return [row for row in found if all(row[name] == value for name, value in where.items())]


def scores_of(warehouse: Warehouse, run_id: str) -> list[str]:
    """The scores of a run as text, in an order that does not depend on the run."""
    return sorted(
        str({name: row[name] for name in SCORED_COLUMNS}) for row in rows(warehouse, run_id=run_id)
    )


def streamed(warehouse: Warehouse, scoring: Scoring) -> None:
    """The golden wallets, and some that are rejected, as the stream stores them."""
    records = [*golden_records(), *broken_records()[:3]]
    facts = BatchFacts("stream", 0, 1.7e9, code_version="1")
    for first in range(0, len(records), 20):
        batch = records_of(records[first : first + 20], first)
        report = write_scored(
            score_records([batch], (scoring,), include_transactions=True),
            warehouse.root,
            facts,
            include_transactions=True,
        )
        commit_files(warehouse, report.files, None)


def test_files_and_history_give_the_scores_of_the_stream(
    warehouse: Warehouse, settings: Settings, scoring: Scoring, golden_file: Path
) -> None:
    streamed(warehouse, scoring)
    run_backfill(BackfillOptions(str(golden_file), run_id="files"), settings)
    run_backfill(BackfillOptions("transactions", run_id="history"), settings)
    expected = scores_of(warehouse, "stream")
    assert len(expected) == len(golden_wallets())
    assert scores_of(warehouse, "files") == expected
    # The history holds every message twice now: as it was streamed, and as it was in the file.
    assert scores_of(warehouse, "history") == sorted(expected * 2)
    golden = {(g.wallet, g.as_of): g.expected for g in golden_wallets()}
    for row in rows(warehouse, run_id="history"):
        assert row["source_topic"] in {"transactions:in", f"transactions:{golden_file.as_uri()}"}
        assert differences(row, golden[row["wallet_address"], row["as_of"]]) == []
    sources = {(r["source_topic"], r["source_offset"]) for r in rows(warehouse, run_id="files")}
    content = golden_file.read_bytes()
    assert len(sources) == len(golden_wallets())
    for uri, offset in sources:
        assert uri == golden_file.as_uri()
        assert content[offset:].startswith(b'{"as_of"')


def test_history_may_lie_in_any_order_over_any_files(
    warehouse: Warehouse, settings: Settings, scoring: Scoring
) -> None:
    streamed(warehouse, scoring)
    path = f"{warehouse.root}/transactions"
    stored = pa.table(DeltaTable(path).to_pyarrow_table()).sort_by("document_id")
    half = stored.num_rows // 2
    write_deltalake(path, stored[:half], mode="overwrite")
    write_deltalake(path, stored[half:], mode="append")
    run_backfill(BackfillOptions("transactions", run_id="history"), settings)
    assert scores_of(warehouse, "history") == scores_of(warehouse, "stream")


def test_a_history_clustered_by_wallet_gives_the_same_scores(
    warehouse: Warehouse, settings: Settings, scoring: Scoring, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sorting, "BUCKET_BYTES", 10_000)
    streamed(warehouse, scoring)
    compact_tables(OptimizeOptions(cluster_percent=0), settings)
    run_backfill(BackfillOptions("transactions", run_id="history"), settings)
    assert scores_of(warehouse, "history") == scores_of(warehouse, "stream")
    where = ("source_timestamp", "source_partition", "source_offset", "wallet_address")
    found = {
        run: sorted(str([row[name] for name in where]) for row in rows(warehouse, run_id=run))
        for run in ("history", "stream")
    }
    assert found["history"] == found["stream"]
    assert not Path(f"{warehouse.root}/_checkpoints/backfill_scores/history.wallets").exists()


def test_an_empty_history_gives_no_scores(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    run_backfill(BackfillOptions("transactions"), settings)
    assert "0 scores, 0 rejects" in capsys.readouterr().out


def test_one_moment_for_all(
    warehouse: Warehouse, settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "plain.jsonl"
    path.write_bytes(b"\n".join(g.value for g in golden_wallets()[:5]) + b"\nnonsense\n")
    run_backfill(BackfillOptions(str(path), (1_800_000_000,)), settings)
    assert {row["as_of"] for row in rows(warehouse)} == {1_800_000_000}
    assert "5 scores, 1 rejects" in capsys.readouterr().out
    with pytest.raises(ConfigurationError, match="--as-of-range needs a history"):
        run_backfill(BackfillOptions(str(path), (1, 2)), settings)


class CutOffError(Exception):
    """What stands for a crash."""


@pytest.mark.parametrize("survives", [0, 1, 2, 3])
def test_a_run_that_was_cut_off_goes_on(
    survives: int,
    warehouse: Warehouse,
    settings: Settings,
    golden_file: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options = BackfillOptions(str(golden_file), run_id="again")
    monkeypatch.setattr(json_lines, "MIN_SPLIT_BYTES", 1)
    monkeypatch.setattr(json_lines, "MAX_SPLIT_BYTES", golden_file.stat().st_size // 7)
    commits = 0

    def append(self: Warehouse, *arguments: Any, **options: Any) -> None:
        nonlocal commits
        if commits == survives:
            raise CutOffError
        commits += 1
        whole(self, *arguments, **options)

    whole = Warehouse.append
    with monkeypatch.context() as patch:
        patch.setattr(Warehouse, "append", append)
        with pytest.raises(CutOffError):
            run_backfill(options, settings)
    assert len(rows(warehouse)) < len(golden_wallets())
    for _ in range(2):
        run_backfill(options, settings)
    stored = rows(warehouse)
    assert len({row["source_offset"] for row in stored}) == len(stored) == len(golden_wallets())
    history = [row["source_offset"] for row in warehouse.rows(TRANSACTIONS)]
    assert {o: history.count(o) for o in set(history)} == {
        row["source_offset"]: row["transaction_count"] for row in stored
    }
    with pytest.raises(BackfillError, match=r"--as-of was \[\], is \[7\]"):
        run_backfill(BackfillOptions(str(golden_file), (7,), run_id="again"), settings)
