"""Optimizes tables: joins small files, and clusters rows by a column.

Both replace files in one commit (`Warehouse.replace`). Of two processes that replace the same file,
on whatever machines, one fails and starts again from the new version; the lock only gives an early
and clear error. Appends neither conflict nor wait.
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
    sort_rows,
    write_files,
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
class OptimizeOptions:
    """How tables are optimized.

    Attributes:
        target_megabytes: files are joined up to this size.
        memory_megabytes: memory of a sort, which spills to disk beyond it.
        vacuum_hours: delete files that no version of the last so many hours needs; None: keep all
            files, and time travel with them.
        cluster_percent: cluster when this share of a table's rows is new since the last clustering;
            0: always, None: never.
    """

    target_megabytes: int = 128
    memory_megabytes: int = 1024
    vacuum_hours: int | None = None
    cluster_percent: int | None = 20


def maintenance_lock(warehouse: Warehouse) -> AbstractContextManager[None]:
    """Lock the maintenance of a warehouse: only one process may replace files of its tables.

    Raises:
        InUseError: another process of this machine has it.
    """
    return exclusive_lock(f"{warehouse.root}/_checkpoints/upkeep", "wait until it is done")


def list_table_files(warehouse: Warehouse, table: Table) -> Files:
    """List the data files of the newest version."""
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
    options: OptimizeOptions,
    *,
    at_least: int = 2,
    most: int | None = None,
    check: Callable[[], None] = lambda: None,
) -> None:
    """Join small files, in one commit per new file, with rows sorted by the clustering column.

    Args:
        warehouse: where the table is.
        options: size of the joined files, and memory.
        at_least: fewer small files than these are left as they are.
        most: how many new files are made; None: all that can be.
        check: is called again and again meanwhile; raises where that is to end.

    Raises:
        CommitFailedError: another process replaced some of them; files joined before stay joined.
    """
    target = options.target_megabytes * MEGABYTE
    all_files = list_table_files(warehouse, table)
    small = _select_small(all_files.stored, target)
    for stored in group_small_files(small, target)[:most] if len(small) >= at_least else ():
        files = replace(all_files, stored=stored, check=check)
        # Sorted, so that a look-up reads few rows of each file, as in a clustered table.
        added = write_files(files, _sort_rows(files, options), target)
        warehouse.replace(table, files.names, added, "compaction", changed=False)


def _sort_rows(files: Files, options: OptimizeOptions) -> Iterator[pa.RecordBatch]:
    column = files.table.cluster_by
    return sort_rows(files, column, options.memory_megabytes) if column else files.rows()


def group_small_files(small: Sequence[StoredFile], target: int) -> list[list[StoredFile]]:
    """Group small files for joining: each group becomes one file of neighbours in time.

    Args:
        small: the files.
        target: bytes of a joined file.
    """
    groups: list[list[StoredFile]] = [[]]
    size = 0
    for file in sorted(small, key=attrgetter("written_at", "name")):
        if size + file.size > target:
            groups.append([])
            size = 0
        groups[-1].append(file)
        size += file.size
    return [files for files in groups if len(files) > 1]


def _select_small(stored: Sequence[StoredFile], target: int) -> list[StoredFile]:
    small: list[StoredFile] = []
    smaller = 0
    for file in sorted(stored, key=attrgetter("size")):
        if file.size >= target or (file.size * _ALWAYS_JOINED > target and file.size > smaller):
            break
        small.append(file)
        smaller += file.size
    return small


def is_clustering_due(warehouse: Warehouse, table: Table, options: OptimizeOptions) -> bool:
    """Whether enough rows are new since the last clustering; never without a clustering column."""
    if table.cluster_by is None or options.cluster_percent is None:
        return False
    log = DeltaTable(warehouse.path(table))
    rows = log.count()
    new = rows - (log.transaction_version(CLUSTERED) or 0)
    return rows > 0 and new * 100 >= rows * options.cluster_percent


def cluster(warehouse: Warehouse, table: Table, options: OptimizeOptions) -> None:
    """Rewrite the whole table sorted by its clustering column.

    Raises:
        CommitFailedError: another process changed rows, or joined files, meanwhile.
    """
    files = list_table_files(warehouse, table)
    added = write_files(files, _sort_rows(files, options), options.target_megabytes * MEGABYTE)
    mark = (CLUSTERED, sum(file.records for file in added))
    warehouse.replace(table, files.names, added, "clustering", changed=False, transaction=mark)


def make_checkpoint(warehouse: Warehouse, table: Table) -> int:
    """Make a checkpoint of the log, from which readers start; returns its version."""
    log = DeltaTable(warehouse.path(table))
    log.create_checkpoint()
    return log.version()
