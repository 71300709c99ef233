"""Compaction joins files and changes no row, whoever writes meanwhile."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from golden import golden_records
from records import records_of
from scorestream.compaction import compact_tables
from scorestream.core.dex_v1 import DexV1
from scorestream.io.delta.warehouse import Warehouse
from scorestream.rows import BatchFacts
from scorestream.scoring import commit_files, score_records, write_scored
from scorestream.settings import Settings
from scorestream.tables import SCORES, TRANSACTIONS


@pytest.fixture
def empty(tmp_path: Path) -> Warehouse:
    warehouse = Warehouse(str(tmp_path / "warehouse"))
    warehouse.create_tables()
    return warehouse


def append(warehouse: Warehouse, model: DexV1, batch: int) -> None:
    records = records_of(golden_records()[:5], first_offset=5 * batch)
    facts = BatchFacts.of("run", batch, 1.7e9, model, "1")
    report = write_scored(score_records([records], model, True), warehouse.root, facts, True)
    commit_files(warehouse, report.files, ("run", batch))


def append_all(warehouse: Warehouse, model: DexV1, batches: int) -> None:
    for batch in range(batches):
        append(warehouse, model, batch)


def test_rows_written_while_tables_are_compacted_stay(
    empty: Warehouse, model: DexV1, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = Settings(scorestream_warehouse=empty.root)
    batches = 40
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(append_all, empty, model, batches)
        while not writing.done():
            compact_tables(128, None, settings)
        writing.result()
    compact_tables(128, None, settings)
    assert "scores" in capsys.readouterr().out
    assert len(empty.files(SCORES, [[("source_offset", ">=", 0)]])) == 1
    offsets = [row["source_offset"] for row in empty.rows(SCORES)]
    assert sorted(offsets) == list(range(5 * batches))
    counts = sum(row["transaction_count"] for row in empty.rows(SCORES))
    assert len(empty.rows(TRANSACTIONS)) == counts
    # A batch that was committed before the compaction is still known to be there.
    append(empty, model, 0)
    assert len(empty.rows(SCORES)) == 5 * batches


def test_vacuum_keeps_what_is_new(empty: Warehouse, model: DexV1) -> None:
    for batch in range(2):
        append(empty, model, batch)
    compact_tables(128, 24, Settings(scorestream_warehouse=empty.root))
    files = list(Path(empty.path(SCORES)).glob("*.parquet"))
    assert len(files) == 3
    assert len(empty.rows(SCORES)) == 10
