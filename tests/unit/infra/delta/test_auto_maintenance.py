"""What commits cost does not grow with the age of a table: logs stay short, files few."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from scorestream.infra.delivery.stream import Stream
from scorestream.infra.delivery.table_maintenance import TableMaintenance
from scorestream.infra.delta import auto_maintenance, vacuum
from scorestream.infra.delta.auto_maintenance import VERSIONS_KEPT, maintain_table, shorten_log
from scorestream.infra.delta.data_files import DataFile, TableWriter
from scorestream.infra.delta.transaction_log import RETENTION
from scorestream.infra.delta.warehouse import Warehouse
from scorestream.infra.errors import DeltaError
from scorestream.wallets.schema.tables import BATCH_TABLES, COVERAGE, REJECTS, TRANSACTIONS
from scorestream.wallets.schema.views import CATALOG

STREAM = Stream("test", "in", BATCH_TABLES, COVERAGE)
RUN = "run/transactions"
DAY = 86_400
CHECKPOINTS_EVERY = 20


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    made = Warehouse(str(tmp_path / "warehouse"), CATALOG)
    made.create_table(TRANSACTIONS)
    return made


def log_of(warehouse: Warehouse) -> Path:
    return Path(warehouse.path(TRANSACTIONS), "_delta_log")


def versions(warehouse: Warehouse) -> list[int]:
    return sorted(int(file.stem) for file in log_of(warehouse).glob("*.json"))


def write_files(warehouse: Warehouse, batch: int, rows: int = 3) -> DataFile:
    writer = TableWriter(warehouse.root, TRANSACTIONS)
    row = {"source_offset": batch, "batch_id": batch}
    keys = [{**row, "wallet_key": f"0x{(batch * 7 + i) % 50}"} for i in range(rows)]
    writer.write(pa.Table.from_pylist(keys, schema=TRANSACTIONS.columns))
    file = writer.close()
    assert file is not None
    return file


def age(warehouse: Warehouse, commits: int, seconds: float) -> None:
    """Write commits as those of a stream long ago, and a checkpoint in every tenth of them."""
    began = time.time() - seconds
    first = DeltaTable(warehouse.path(TRANSACTIONS)).version() + 1
    for version in range(first, first + commits):
        entry = log_of(warehouse) / f"{version:020}.json"
        info = {"timestamp": int(began * 1000), "operation": "WRITE"}
        mark = {"appId": RUN, "version": version}
        entry.write_text(f"{json.dumps({'commitInfo': info})}\n{json.dumps({'txn': mark})}")
        if version % (commits // 10) == 0:
            DeltaTable(warehouse.path(TRANSACTIONS)).create_checkpoint()
    for file in log_of(warehouse).iterdir():
        os.utime(file, (began, began))


def test_an_old_log_becomes_short(warehouse: Warehouse) -> None:
    age(warehouse, 5_000, DAY)
    shorten_log(warehouse, TRANSACTIONS)
    # From the last checkpoint on that all of those can be read from.
    assert versions(warehouse) == list(range(3_000, 5_001))
    assert len(list(log_of(warehouse).glob("*.checkpoint.parquet"))) == 5
    path = warehouse.path(TRANSACTIONS)
    for version in (3_000, 5_000 - VERSIONS_KEPT, 4_321, 5_000):
        assert DeltaTable(path, version=version).transaction_version(RUN) == version
    warehouse.append(TRANSACTIONS, [write_files(warehouse, 5_001)], (RUN, 5_001))
    assert warehouse.transaction_version(TRANSACTIONS, RUN) == DeltaTable(path).version() == 5_001


def test_a_log_that_another_process_has_open_is_read_on(warehouse: Warehouse) -> None:
    other = Warehouse(warehouse.root, CATALOG)
    assert other.transaction_version(TRANSACTIONS, RUN) is None
    age(warehouse, 5_000, DAY)
    shorten_log(warehouse, TRANSACTIONS)
    assert other.transaction_version(TRANSACTIONS, RUN) == 5_000


@pytest.mark.parametrize("seconds", [0, auto_maintenance.MIN_SECONDS_KEPT - 60])
def test_what_is_young_stays(warehouse: Warehouse, seconds: float) -> None:
    age(warehouse, 3_000, seconds)
    shorten_log(warehouse, TRANSACTIONS)
    assert len(versions(warehouse)) == 3_001


def test_the_table_may_say_how_long_versions_are_kept(warehouse: Warehouse) -> None:
    DeltaTable(warehouse.path(TRANSACTIONS)).alter.set_table_properties(
        {RETENTION: "interval 2 days"}
    )
    age(warehouse, 3_000, DAY)
    shorten_log(warehouse, TRANSACTIONS)
    assert len(versions(warehouse)) == 3_002
    DeltaTable(warehouse.path(TRANSACTIONS)).alter.set_table_properties(
        {RETENTION: "interval 2 hours"}
    )
    shorten_log(warehouse, TRANSACTIONS)
    assert versions(warehouse) == [3_000, 3_001, 3_002]


def actions_in_checkpoint(warehouse: Warehouse) -> int:
    newest = max(log_of(warehouse).glob("*.checkpoint.parquet"))
    return int(pq.read_metadata(newest).num_rows)


def test_nothing_grows_while_batches_come(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, few in (("VERSIONS_KEPT", 60), ("MIN_SECONDS_KEPT", 0), ("SMALL_FILES", 16)):
        monkeypatch.setattr(auto_maintenance, name, few)
    DeltaTable(warehouse.path(TRANSACTIONS)).alter.set_table_properties(
        {"delta.deletedFileRetentionDuration": "interval 0 seconds"}
    )
    batches = 200
    for batch in range(batches):
        warehouse.append(TRANSACTIONS, [write_files(warehouse, batch)], (RUN, batch))
        if batch % 20 == 19:
            maintain_table(warehouse, TRANSACTIONS)
            assert warehouse.file_count(TRANSACTIONS) <= 16
            assert len(versions(warehouse)) <= 60 + 2 * CHECKPOINTS_EVERY
            assert actions_in_checkpoint(warehouse) <= 60
    offsets = [row["source_offset"] for row in warehouse.rows(TRANSACTIONS)]
    assert sorted(offsets) == sorted(3 * list(range(batches)))
    # Rows of one wallet stand together in what was joined.
    rows = max(Path(warehouse.path(TRANSACTIONS)).glob("*.parquet"), key=os.path.getsize)
    keys = pq.read_table(rows)["wallet_key"].to_pylist()
    assert keys == sorted(keys)


def test_a_stream_tidies_beside_its_commits(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auto_maintenance, "SMALL_FILES", 10)
    ended = time.monotonic() + 60
    batch = 0
    # Tables that lack, as `scores` does here, are no reason to end.
    with TableMaintenance(warehouse, STREAM, seconds=0.01):
        while batch < 40 or warehouse.file_count(TRANSACTIONS) > 20:
            assert time.monotonic() < ended
            warehouse.append(TRANSACTIONS, [write_files(warehouse, batch)], (RUN, batch))
            batch += 1
    offsets = [row["source_offset"] for row in warehouse.rows(TRANSACTIONS)]
    assert sorted(offsets) == sorted(3 * list(range(batch)))


def test_a_stream_that_ends_does_not_wait_for_files_to_be_joined(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auto_maintenance, "SMALL_FILES", 2)
    warehouse.append(TRANSACTIONS, [write_files(warehouse, i) for i in range(4)], None)
    present = set(Path(warehouse.path(TRANSACTIONS)).iterdir())
    asked = []

    def ends() -> None:
        asked.append(1)
        if len(asked) == 2:
            raise DeltaError("the stream ends")

    with pytest.raises(DeltaError):
        maintain_table(warehouse, TRANSACTIONS, ends)
    assert set(Path(warehouse.path(TRANSACTIONS)).iterdir()) == present
    running = TableMaintenance(warehouse, STREAM, seconds=0.001)
    with running:
        pass
    assert not running._thread.is_alive()


def test_what_cannot_be_joined_leaves_nothing_behind(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auto_maintenance, "SMALL_FILES", 2)
    warehouse.append(TRANSACTIONS, [write_files(warehouse, i) for i in range(3)], None)
    present = set(Path(warehouse.path(TRANSACTIONS)).iterdir())
    broken = write_files(warehouse, 3)
    Path(warehouse.uri(broken)).write_bytes(b"PAR1 and nothing else PAR1")
    warehouse.append(TRANSACTIONS, [broken], None)
    with pytest.raises(DeltaError, match="cannot be written anew"):
        maintain_table(warehouse, TRANSACTIONS)
    assert set(Path(warehouse.path(TRANSACTIONS)).iterdir()) == {
        *present,
        Path(warehouse.uri(broken)),
    }


@pytest.fixture
def hours(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How many have passed, as the clock says."""
    passed = [0.0]
    began = time.time()
    monkeypatch.setattr(time, "time", lambda: began + passed[0] * 3600)
    return passed


def test_files_go_when_no_version_has_needed_them_for_hours(
    warehouse: Warehouse, hours: list[float]
) -> None:
    files = [write_files(warehouse, i) for i in range(4)]
    kept, replaced, lost, late = files
    warehouse.append(TRANSACTIONS, [kept, replaced], None)
    old = time.time() - 9 * DAY
    for file in files:
        # When a file was written says nothing of when it went.
        os.utime(warehouse.uri(file), (old, old))
    warehouse.replace(TRANSACTIONS, [replaced.path], [write_files(warehouse, 1)], "test")

    def present() -> set[DataFile]:
        return {file for file in files if Path(warehouse.uri(file)).exists()}

    assert vacuum.vacuum(warehouse, TRANSACTIONS, None) is None
    hours[0] = 23
    assert vacuum.vacuum(warehouse, TRANSACTIONS, 24) == 0
    assert present() == set(files)
    # A task commits at last what it wrote long ago.
    warehouse.append(TRANSACTIONS, [late], None)
    hours[0] = 24.1
    assert vacuum.vacuum(warehouse, TRANSACTIONS, 24) == 2
    assert present() == {kept, late}
    assert replaced not in present()
    assert lost not in present()
    assert len(warehouse.rows(TRANSACTIONS)) == 9
    assert vacuum.vacuum(warehouse, TRANSACTIONS, 24) == 0


def test_a_note_that_is_lost_or_from_the_future_deletes_nothing_early(
    warehouse: Warehouse, hours: list[float]
) -> None:
    lost = write_files(warehouse, 0)
    vacuum.vacuum(warehouse, TRANSACTIONS, None)
    [note] = Path(warehouse.root).glob("_checkpoints/upkeep_files/*.json")
    hours[0] = 30
    note.write_text("{[")
    assert vacuum.vacuum(warehouse, TRANSACTIONS, 24) == 0
    # The clock was a month ahead when this was noted: it counts from the first look on.
    note.write_text(json.dumps({str(time.time() + 30 * DAY): [lost.path]}))
    assert vacuum.vacuum(warehouse, TRANSACTIONS, 24) == 0
    hours[0] = 55
    assert vacuum.vacuum(warehouse, TRANSACTIONS, 24) == 1


def test_tables_of_an_earlier_version_get_what_keeps_checkpoints_small(tmp_path: Path) -> None:
    warehouse = Warehouse(str(tmp_path), CATALOG)
    DeltaTable.create(warehouse.path(REJECTS), REJECTS.columns)
    DeltaTable.create(
        warehouse.path(TRANSACTIONS),
        TRANSACTIONS.columns,
        configuration={"delta.deletedFileRetentionDuration": "interval 3 days"},
    )
    found = []
    for table in (REJECTS, TRANSACTIONS):
        warehouse.create_table(table)
        properties = DeltaTable(warehouse.path(table)).metadata().configuration
        found.append(properties["delta.deletedFileRetentionDuration"])
    # What somebody has set stays.
    assert found == ["interval 1 hours", "interval 3 days"]


def test_a_commit_that_readers_do_not_see_is_not_believed_in(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scorestream.infra.delta.warehouse._LONG_SECONDS", -1.0)
    warehouse.append(TRANSACTIONS, [write_files(warehouse, 0)], (RUN, 0))
    commit = DeltaTable.create_write_transaction

    def overtaken(log: DeltaTable, *given: object, **named: object) -> None:
        del log, given, named

    monkeypatch.setattr(DeltaTable, "create_write_transaction", overtaken)
    with pytest.raises(DeltaError, match="took so long"):
        warehouse.append(TRANSACTIONS, [write_files(warehouse, 1)], (RUN, 1))
    monkeypatch.setattr(DeltaTable, "create_write_transaction", commit)
    warehouse.append(TRANSACTIONS, [write_files(warehouse, 1)], (RUN, 1))
