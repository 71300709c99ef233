"""`compact_tables`: many small files of the tables into few large ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from deltalake import DeltaTable, WriterProperties
from deltalake.exceptions import DeltaError as DeltaRsError

from scorestream.errors import DeltaError
from scorestream.io.delta.warehouse import Warehouse
from scorestream.settings import Settings
from scorestream.tables import REJECTS, REPLAYS, SCORES, TRANSACTIONS, Table

COMPACTED: Final = (SCORES, TRANSACTIONS, REJECTS, REPLAYS)
MEGABYTE: Final = 1024 * 1024
# Readers and tasks may be busy with a file for this long after it was last seen in the log.
LEAST_HOURS_KEPT: Final = 24


@dataclass(frozen=True)
class Compacted:
    """What became of a table's files."""

    table: str
    before: int
    after: int
    removed: int


def compact_tables(target_megabytes: int, vacuum_hours: int | None, settings: Settings) -> None:
    """Compact the tables, and say on stdout what became of their files.

    A running stream or backfill is not disturbed: files are replaced in one commit, and no row of
    a commit made meanwhile is touched.

    Args:
        target_megabytes: files are joined up to this size.
        vacuum_hours: delete files that no version of the last so many hours needs; None: keep all,
            and with them the time travel.

    Raises:
        DeltaError: a table cannot be read or written, or another compaction was faster.
    """
    warehouse = Warehouse(settings.warehouse)
    warehouse.create_tables()
    for done in _compact_all(warehouse, target_megabytes * MEGABYTE, vacuum_hours):
        removed = f", {done.removed:,} deleted" if vacuum_hours is not None else ""
        print(f"{done.table:14} {done.before:8,} files -> {done.after:8,}{removed}")


def _compact_all(
    warehouse: Warehouse, target: int, vacuum_hours: int | None
) -> Iterator[Compacted]:
    for table in COMPACTED:
        try:
            yield _compact(warehouse, table, target, vacuum_hours)
        except (DeltaRsError, OSError) as error:
            raise DeltaError(f"table {warehouse.path(table)} not compacted: {error}") from error


def _compact(
    warehouse: Warehouse, table: Table, target: int, vacuum_hours: int | None
) -> Compacted:
    log = DeltaTable(warehouse.path(table))
    before = len(log.file_uris())
    log.optimize.compact(target_size=target, writer_properties=WriterProperties(compression="ZSTD"))
    removed: list[str] = []
    if vacuum_hours is not None:
        # Files that tasks wrote and nobody committed go, too.
        removed = log.vacuum(
            vacuum_hours, dry_run=False, enforce_retention_duration=False, full=True
        )
    return Compacted(table.name, before, len(log.file_uris()), len(removed))
