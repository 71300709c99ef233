"""The warehouse without Spark: logs that stay open, small tables that are read."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from scorestream.errors import DamagedTableError
from scorestream.io.delta.warehouse import Warehouse
from scorestream.tables import SCORES, TOKENS

RUN = "run/scores"


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    made = Warehouse(str(tmp_path))
    made.create_tables()
    made.mark(SCORES, (RUN, 0))
    return made


def test_commits_of_others_are_seen(warehouse: Warehouse) -> None:
    other = Warehouse(warehouse.root)
    for number in range(1, 4):
        other.mark(SCORES, (RUN, number))
        assert warehouse.transaction_version(SCORES, RUN) == number
    # What the table holds is not committed once more.
    warehouse.mark(SCORES, (RUN, 2))
    assert DeltaTable(warehouse.path(SCORES)).version() == 4


def test_a_table_made_anew_is_begun_anew(warehouse: Warehouse) -> None:
    shutil.rmtree(warehouse.path(SCORES))
    Warehouse(warehouse.root).create_tables()
    assert warehouse.transaction_version(SCORES, RUN) is None
    warehouse.mark(SCORES, (RUN, 7))
    assert DeltaTable(warehouse.path(SCORES)).version() == 1


def test_nothing_is_committed_on_top_of_a_damaged_commit(warehouse: Warehouse) -> None:
    newest = Path(warehouse.path(SCORES), "_delta_log", f"{1:020}.json")
    newest.write_bytes(bytes(newest.stat().st_size))
    with pytest.raises(DamagedTableError, match=newest.name):
        warehouse.mark(SCORES, (RUN, 1))
    assert not newest.with_name(f"{2:020}.json").exists()


def test_expired_entries_are_left_to_upkeep(warehouse: Warehouse) -> None:
    expire = {"delta.logRetentionDuration": "interval 0 seconds", "delta.checkpointInterval": "1"}
    DeltaTable(warehouse.path(SCORES)).alter.set_table_properties(expire)
    log = Path(warehouse.path(SCORES), "_delta_log")
    before = set(log.glob("*.json"))
    for number in range(1, 5):
        warehouse.mark(SCORES, (RUN, number))
    assert before < set(log.glob("*.json"))


def test_the_interpreter_ends_well_after_a_read(warehouse: Warehouse) -> None:
    for number in range(20):
        row = {"address": f"0x{number}", "symbol": "DAI", "decimals": 18}
        warehouse.write(TOKENS, pa.Table.from_pylist([row], schema=TOKENS.columns))
    read = (
        f"import sys; sys.path[:] = {sys.path!r}\n"
        "from scorestream.io.delta.warehouse import Warehouse\n"
        "from scorestream.tables import TOKENS\n"
        f"print(len(Warehouse({warehouse.root!r}).rows(TOKENS)))"
    )
    # Arrow's threads race with the interpreter's end: once would prove little.
    for _ in range(5):
        ended = subprocess.run([sys.executable, "-c", read], check=True, capture_output=True)
        assert ended.stdout == b"20\n"
