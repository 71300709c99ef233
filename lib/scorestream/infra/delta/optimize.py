"""What keeps a table healthy: small files joined, rows in the order of the column to cluster by.

All of it puts files in the place of others (`Warehouse.replace`), which one at a time can do for a
file, whatever machine it runs on: the other begins anew with what is there then. The lock is only
for an early and clear answer. Appends disturb nothing and are not disturbed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Final

import pyarrow as pa
from deltalake import DeltaTable

from scorestream.infra.delta.file_rewriting import (
    MEGABYTE,
    Files,
    StoredFile,
    in_order,
    written,
)
from scorestream.infra.delta.table import Table
from scorestream.infra.delta.table_features import refuse_unreadable
from scorestream.infra.delta.warehouse import Warehouse
from scorestream.infra.storage.locks import exclusive_lock

# A transaction of the log whose version is the number of rows that the clustering has put in order.
CLUSTERED: Final = "compact_tables/clustered_rows"
# Files below this part of the target are always joined; a larger one only if all smaller ones
# together are as large: so a row is written anew a handful of times, however often this is done.
_ALWAYS_JOINED: Final = 16


@dataclass(frozen=True)
class Effort:
    """How far an upkeep goes.

    Attributes:
        target_megabytes: files are joined up to this size.
        memory_megabytes: what a clustering may hold before it sorts on disk.
        vacuum_hours: delete files that no version of the last so many hours needs; None: keep all,
            and with them the time travel.
        cluster_percent: cluster when this share of a table's rows came since the last time; 0:
            always, None: never.
    """

    target_megabytes: int = 128
    memory_megabytes: int = 1024
    vacuum_hours: int | None = None
    cluster_percent: int | None = 20


def upkeep_lock(warehouse: Warehouse) -> AbstractContextManager[None]:
    """The only right to replace files of a warehouse's tables.

    Raises:
        InUseError: another process of this machine has it.
    """
    return exclusive_lock(f"{warehouse.root}/_checkpoints/upkeep", "wait until it is done")


def table_files(warehouse: Warehouse, table: Table) -> Files:
    """All data files of the newest version."""
    log = DeltaTable(warehouse.path(table))
    refuse_unreadable(log)
    schema = pa.schema([field.remove_metadata() for field in pa.schema(log.schema())])
    rows = pa.table(log.get_add_actions(flatten=True)).to_pylist()
    stored = [
        StoredFile(
            row["path"],
            row["size_bytes"],
            row["modification_time"],
            {name: row.get(f"null_count.{name}") for name in table.statistics},
        )
        for row in rows
    ]
    return Files(warehouse.root, table, schema, stored)


def compact(
    warehouse: Warehouse,
    table: Table,
    effort: Effort,
    *,
    at_least: int = 2,
    most: int | None = None,
    check: Callable[[], None] = lambda: None,
) -> None:
    """Join small files, in a commit for each new file, in the order of the column to cluster by.

    Args:
        warehouse: where the table is.
        effort: up to which size, in how much memory.
        at_least: fewer small files than these are left as they are.
        most: how many new files are made; None: all that can be.
        check: is called again and again meanwhile; raises where that is to end.

    Raises:
        CommitFailedError: some of them were taken meanwhile; what was joined before stays so.
    """
    target = effort.target_megabytes * MEGABYTE
    every = table_files(warehouse, table)
    small = _small(every.stored, target)
    for stored in bins(small, target)[:most] if len(small) >= at_least else ():
        files = replace(every, stored=stored, check=check)
        # A value is then looked up in a few rows of each file, as in a table that is clustered.
        added = written(files, _in_order(files, effort), target)
        warehouse.replace(table, files.names, added, "compaction", changed=False)


def _in_order(files: Files, effort: Effort) -> Iterator[pa.RecordBatch]:
    column = files.table.cluster_by
    return in_order(files, column, effort.memory_megabytes) if column else files.rows()


def bins(small: Sequence[StoredFile], target: int) -> list[list[StoredFile]]:
    """The files to join, together those that become one: neighbours in time.

    Args:
        small: the files.
        target: bytes of a joined file.
    """
    found: list[list[StoredFile]] = [[]]
    size = 0
    for file in sorted(small, key=attrgetter("written_at", "name")):
        if size + file.size > target:
            found.append([])
            size = 0
        found[-1].append(file)
        size += file.size
    return [files for files in found if len(files) > 1]


def _small(stored: Sequence[StoredFile], target: int) -> list[StoredFile]:
    small: list[StoredFile] = []
    smaller = 0
    for file in sorted(stored, key=attrgetter("size")):
        if file.size >= target or (file.size * _ALWAYS_JOINED > target and file.size > smaller):
            break
        small.append(file)
        smaller += file.size
    return small


def is_due(warehouse: Warehouse, table: Table, effort: Effort) -> bool:
    """Whether enough rows came since the table was clustered, if it is one to cluster."""
    if table.cluster_by is None or effort.cluster_percent is None:
        return False
    log = DeltaTable(warehouse.path(table))
    rows = log.count()
    new = rows - (log.transaction_version(CLUSTERED) or 0)
    return rows > 0 and new * 100 >= rows * effort.cluster_percent


def cluster(warehouse: Warehouse, table: Table, effort: Effort) -> None:
    """Rewrite the whole table in the order of the column to cluster by.

    Raises:
        CommitFailedError: rows were changed, or files joined, meanwhile.
    """
    files = table_files(warehouse, table)
    added = written(files, _in_order(files, effort), effort.target_megabytes * MEGABYTE)
    mark = (CLUSTERED, sum(file.records for file in added))
    warehouse.replace(table, files.names, added, "clustering", changed=False, transaction=mark)


def make_checkpoint(warehouse: Warehouse, table: Table) -> int:
    """Make a checkpoint of the log, at which readers begin whatever was before; its version."""
    log = DeltaTable(warehouse.path(table))
    log.create_checkpoint()
    return log.version()
