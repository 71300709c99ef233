"""The warehouse without Spark: logs that stay open, small tables that are read."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from scorestream.infra.delta.warehouse import Warehouse
from scorestream.infra.errors import DamagedTableError, InUseError
from scorestream.wallets.schema.tables import SCORES, TOKENS
from scorestream.wallets.schema.views import CATALOG

RUN = "run/scores"


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    made = Warehouse(str(tmp_path), CATALOG)
    made.create_tables()
    made.mark(SCORES, (RUN, 0))
    return made


def test_commits_of_others_are_seen(warehouse: Warehouse) -> None:
    other = Warehouse(warehouse.root, CATALOG)
    for number in range(1, 4):
        other.mark(SCORES, (RUN, number))
        assert warehouse.transaction_version(SCORES, RUN) == number
    # What the table holds is not committed once more.
    warehouse.mark(SCORES, (RUN, 2))
    assert DeltaTable(warehouse.path(SCORES)).version() == 4


def test_a_table_made_anew_is_begun_anew(warehouse: Warehouse) -> None:
    shutil.rmtree(warehouse.path(SCORES))
    Warehouse(warehouse.root, CATALOG).create_tables()
    assert warehouse.transaction_version(SCORES, RUN) is None
    warehouse.mark(SCORES, (RUN, 7))
    assert DeltaTable(warehouse.path(SCORES)).version() == 1


def test_who_was_followed_by_another_appends_nothing_more(warehouse: Warehouse) -> None:
    other = Warehouse(warehouse.root, CATALOG)
    warehouse.fence, other.fence = ("lease/stream", 1), ("lease/stream", 2)
    warehouse.fence_off(SCORES)
    warehouse.mark(SCORES, (RUN, 1))
    other.fence_off(SCORES)
    with pytest.raises(InUseError, match="stream was taken over by another process"):
        warehouse.mark(SCORES, (RUN, 2))
    with pytest.raises(InUseError, match="stream was taken over"):
        warehouse.fence_off(SCORES)
    # Whoever holds no lease is not concerned: a backfill.
    Warehouse(warehouse.root, CATALOG).mark(SCORES, ("backfill/scores", 0))
    other.mark(SCORES, (RUN, 2))
    assert warehouse.transaction_version(SCORES, RUN) == 2


def test_nobody_is_followed_between_the_look_and_the_commit(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Warehouse(warehouse.root, CATALOG)
    warehouse.fence, other.fence = ("lease/stream", 1), ("lease/stream", 2)
    look = DeltaTable.transaction_version

    def look_and_wait(log: DeltaTable, application: str) -> int | None:
        found = look(log, application)
        if application == "lease/stream" and found is None:
            monkeypatch.setattr(DeltaTable, "transaction_version", look)
            other.fence_off(SCORES)
        return found

    monkeypatch.setattr(DeltaTable, "transaction_version", look_and_wait)
    with pytest.raises(InUseError, match="taken over"):
        warehouse.mark(SCORES, (RUN, 1))
    assert warehouse.transaction_version(SCORES, RUN) == 0


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
        "from scorestream.infra.delta.warehouse import Warehouse\n"
        "from scorestream.wallets.schema.tables import TOKENS\n"
        "from scorestream.wallets.schema.views import CATALOG\n"
        f"print(len(Warehouse({warehouse.root!r}, CATALOG).rows(TOKENS)))"
    )
    # Arrow's threads race with the interpreter's end: once would prove little.
    for _ in range(5):
        ended = subprocess.run([sys.executable, "-c", read], check=True, capture_output=True)
        assert ended.stdout == b"20\n"
