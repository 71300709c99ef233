"""Compaction and clustering replace files and change no row, whoever writes meanwhile."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake
from deltalake.exceptions import CommitFailedError

from scorestream.infra.config.settings import Settings
from scorestream.infra.delta import file_rewriting
from scorestream.infra.delta.commit_retries import retry_commit
from scorestream.infra.delta.optimize import OptimizeOptions, maintenance_lock
from scorestream.infra.delta.warehouse import Warehouse
from scorestream.infra.errors import DeltaError, InUseError
from scorestream.infra.storage.filesystem import filesystem_of
from scorestream.wallets.core.scoring import Scoring
from scorestream.wallets.core.wallet_keys import wallet_key
from scorestream.wallets.execution.history_lookup import WalletFile, read_wallets, wallet_files
from scorestream.wallets.execution.scoring_task import commit_files, score_records, write_scored
from scorestream.wallets.execution.table_rows import BatchFacts
from scorestream.wallets.maintenance.compact_tables import compact_tables
from scorestream.wallets.schema.tables import SCORES, TRANSACTIONS
from scorestream.wallets.schema.views import CATALOG
from tools.testkit.golden import golden_records, golden_wallets
from tools.testkit.records import records_of

ALWAYS = OptimizeOptions(cluster_percent=0)
NEVER = OptimizeOptions(cluster_percent=None)


@pytest.fixture
def empty(tmp_path: Path) -> Warehouse:
    warehouse = Warehouse(str(tmp_path / "warehouse"), CATALOG)
    warehouse.create_tables()
    return warehouse


@pytest.fixture
def settings(empty: Warehouse) -> Settings:
    return Settings(scorestream_warehouse=empty.root)


def append(warehouse: Warehouse, scoring: Scoring, batch: int) -> None:
    records = records_of(golden_records()[:5], first_offset=5 * batch)
    facts = BatchFacts("run", batch, 1.7e9, code_version="1")
    report = write_scored(
        score_records([records], (scoring,), include_transactions=True),
        warehouse.root,
        facts,
        include_transactions=True,
    )
    commit_files(warehouse, report.files, ("run", batch))


def append_all(warehouse: Warehouse, scoring: Scoring, batches: int) -> None:
    for batch in range(batches):
        append(warehouse, scoring, batch)


def assert_each_row_once(warehouse: Warehouse, batches: int) -> None:
    offsets = [row["source_offset"] for row in warehouse.rows(SCORES)]
    assert sorted(offsets) == list(range(5 * batches))
    counts = sum(row["transaction_count"] for row in warehouse.rows(SCORES))
    assert len(warehouse.rows(TRANSACTIONS)) == counts


@pytest.mark.parametrize("options", [ALWAYS, OptimizeOptions(vacuum_hours=24), NEVER])
def test_rows_written_while_tables_are_compacted_stay(
    options: OptimizeOptions,
    empty: Warehouse,
    scoring: Scoring,
    settings: Settings,
    capsys: pytest.CaptureFixture[str],
) -> None:
    batches = 40
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(append_all, empty, scoring, batches)
        while not writing.done():
            compact_tables(options, settings)
        writing.result()
    compact_tables(options, settings)
    assert "scores" in capsys.readouterr().out
    assert len(empty.files(SCORES, [[("source_offset", ">=", 0)]])) == 1
    assert_each_row_once(empty, batches)
    # A batch that was committed before the compaction is still known to be there.
    append(empty, scoring, 0)
    assert_each_row_once(empty, batches)


def test_one_upkeep_at_a_time(empty: Warehouse, settings: Settings) -> None:
    with maintenance_lock(empty), pytest.raises(InUseError):
        compact_tables(NEVER, settings)


def test_what_comes_too_late_is_made_again() -> None:
    attempts = []

    def second() -> int:
        attempts.append(1)
        if len(attempts) == 1:
            raise CommitFailedError("taken")
        return len(attempts)

    def never() -> int:
        raise CommitFailedError("taken")

    assert retry_commit("compaction", second) == 2
    with pytest.raises(DeltaError, match="compaction: met other commits 5 times"):
        retry_commit("compaction", never)


def test_vacuum_keeps_what_is_new(empty: Warehouse, scoring: Scoring, settings: Settings) -> None:
    append_all(empty, scoring, 2)
    compact_tables(OptimizeOptions(vacuum_hours=24), settings)
    files = list(Path(empty.path(SCORES)).glob("*.parquet"))
    assert len(files) == 3
    assert_each_row_once(empty, 2)


def test_tables_are_clustered_when_enough_is_new(
    empty: Warehouse, scoring: Scoring, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    def clustered() -> list[str]:
        compact_tables(OptimizeOptions(cluster_percent=20), settings)
        lines = capsys.readouterr().out.splitlines()
        return [line.split()[0] for line in lines if "clustered" in line]

    assert clustered() == []
    append_all(empty, scoring, 5)
    assert clustered() == ["scores", "transactions"]
    assert clustered() == []
    append(empty, scoring, 5)
    assert clustered() == []
    append(empty, scoring, 6)
    # Two batches of seven are new.
    assert clustered() == ["scores", "transactions"]
    assert_each_row_once(empty, 7)


def groups_read(file: WalletFile, key: str) -> tuple[int, int]:
    """Row groups of a file that may hold a wallet, and all of them."""
    filesystem, path = filesystem_of(file.uri)
    metadata = pq.read_metadata(path, filesystem=filesystem)
    names = [metadata.schema.column(i).path for i in range(metadata.num_columns)]
    column = names.index("wallet_key")
    bounds = [
        metadata.row_group(i).column(column).statistics for i in range(metadata.num_row_groups)
    ]
    return sum(bound.min <= key <= bound.max for bound in bounds), len(bounds)


def test_a_clustered_table_gives_a_wallet_without_reading_the_others(
    empty: Warehouse, scoring: Scoring, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = records_of(golden_records())
    facts = BatchFacts("run", 0, 1.7e9, code_version="1")
    report = write_scored(
        score_records([records], (scoring,), include_transactions=True),
        empty.root,
        facts,
        include_transactions=True,
    )
    commit_files(empty, report.files, ("run", 0))
    keys = sorted({wallet_key(row["wallet_address"]) for row in empty.rows(TRANSACTIONS)})
    before = {key: read_wallets(wallet_files(empty), [key]).num_rows for key in keys}
    monkeypatch.setattr(file_rewriting, "GROUP_ROWS", 100)
    compact_tables(ALWAYS, settings)
    [file] = wallet_files(empty)
    assert (file.lowest, file.highest) == (keys[0], keys[-1])
    read, all_groups = zip(*[groups_read(file, key) for key in keys], strict=True)
    assert all_groups[0] > 10
    assert sum(read) < 3 * len(keys)
    assert {key: read_wallets([file], [key]).num_rows for key in keys} == before


def test_rows_of_an_earlier_version_get_their_wallet_key(
    tmp_path: Path, scoring: Scoring, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    source = Warehouse(str(tmp_path / "source"), CATALOG)
    source.create_tables()
    append(source, scoring, 0)
    old = DeltaTable(source.path(SCORES)).to_pyarrow_table().drop_columns(["wallet_key"])
    warehouse = Warehouse(settings.scorestream_warehouse, CATALOG)
    DeltaTable.create(f"{tmp_path}/old/scores", old.schema)
    older = Warehouse(f"{tmp_path}/old", CATALOG)
    write_deltalake(older.path(SCORES), old, mode="append")
    older.create_tables()
    assert {row["wallet_key"] for row in older.rows(SCORES)} == {None}
    append(older, scoring, 1)
    compact_tables(NEVER, Settings(scorestream_warehouse=older.root))
    assert "5 wallet keys filled in" in capsys.readouterr().out
    rows = older.rows(SCORES)
    assert len(rows) == 10
    assert all(row["wallet_key"] == wallet_key(row["wallet_address"]) for row in rows)
    assert {wallet.wallet for wallet in golden_wallets()[:5]} == {r["wallet_address"] for r in rows}
    assert warehouse.rows(SCORES) == []


def test_the_log_gets_a_checkpoint_and_loses_what_is_too_old(
    empty: Warehouse, scoring: Scoring, settings: Settings
) -> None:
    append_all(empty, scoring, 3)
    log = DeltaTable(empty.path(SCORES))
    log.alter.set_table_properties({"delta.logRetentionDuration": "interval 0 seconds"})
    compact_tables(NEVER, settings)
    left = list(Path(empty.path(SCORES), "_delta_log").glob("*.json"))
    assert list(Path(empty.path(SCORES), "_delta_log").glob("*.checkpoint.parquet"))
    assert len(left) < DeltaTable(empty.path(SCORES)).version()
    append(empty, scoring, 3)
    assert_each_row_once(empty, 4)
