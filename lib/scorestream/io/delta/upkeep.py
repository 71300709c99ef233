"""What keeps a table healthy: wallet keys filled in, small files joined, rows clustered by wallet.

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
import pyarrow.compute as pc
from deltalake import DeltaTable

from scorestream.core.wallets import wallet_keys
from scorestream.io.delta.commits import retried
from scorestream.io.delta.features import refuse_unreadable
from scorestream.io.delta.rewriting import (
    MEGABYTE,
    Files,
    StoredFile,
    in_order,
    written,
)
from scorestream.io.delta.warehouse import Warehouse
from scorestream.io.locks import exclusive_lock
from scorestream.tables import Table

CLUSTER_COLUMN: Final = "wallet_key"
# A transaction of the log whose version is the number of rows that the clustering has put in order.
CLUSTERED: Final = "compact_tables/clustered_rows"
# Files below this part of the target are always joined; a larger one only if all smaller ones
# together are as large: so a row is written anew a handful of times, however often this is done.
_ALWAYS_JOINED: Final = 16
_NO_KEY: Final = f"null_count.{CLUSTER_COLUMN}"


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


def fill_wallet_keys(warehouse: Warehouse, table: Table) -> int:
    """Give a key to the rows that are older than the column; how many rows those were."""
    if CLUSTER_COLUMN not in table.columns.names:
        return 0
    what = f"wallet keys of {warehouse.path(table)}"
    return retried(what, lambda: _fill_wallet_keys(warehouse, table))


def _fill_wallet_keys(warehouse: Warehouse, table: Table) -> int:
    every = _files(warehouse, table)
    asked = [replace(every, stored=[file]) for file in every.stored if file.without_key != 0]
    counts = [sum(_lacking(rows) for rows in file.rows()) for file in asked]
    lacking = [file.stored[0] for file, count in zip(asked, counts, strict=True) if count]
    if lacking:
        files = replace(every, stored=lacking)
        added = written(files, map(_with_keys, files.rows()), Effort.target_megabytes * MEGABYTE)
        warehouse.replace(table, files.names, added, "wallet keys")
    return sum(counts)


def _lacking(rows: pa.RecordBatch) -> int:
    key, address = rows[CLUSTER_COLUMN], rows["wallet_address"]
    return int(pc.sum(pc.and_(key.is_null(), address.is_valid())).as_py() or 0)


def _with_keys(rows: pa.RecordBatch) -> pa.RecordBatch:
    keys = pc.coalesce(rows[CLUSTER_COLUMN], wallet_keys(rows["wallet_address"]))
    return rows.set_column(rows.schema.names.index(CLUSTER_COLUMN), CLUSTER_COLUMN, keys)


def _files(warehouse: Warehouse, table: Table) -> Files:
    """All files of the newest version."""
    log = DeltaTable(warehouse.path(table))
    refuse_unreadable(log)
    schema = pa.schema([field.remove_metadata() for field in pa.schema(log.schema())])
    rows = pa.table(log.get_add_actions(flatten=True)).to_pylist()
    stored = [
        StoredFile(row["path"], row["size_bytes"], row["modification_time"], row.get(_NO_KEY))
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
    """Join small files, in a commit for each new file, whose rows are in the order of the wallets.

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
    every = _files(warehouse, table)
    small = _small(every.stored, target)
    for stored in bins(small, target)[:most] if len(small) >= at_least else ():
        files = replace(every, stored=stored, check=check)
        # A wallet is then looked up in a few rows of each file, as in a table that is clustered.
        keyed = CLUSTER_COLUMN in table.columns.names
        rows = _in_order(files, effort) if keyed else files.rows()
        added = written(files, rows, target)
        warehouse.replace(table, files.names, added, "compaction", changed=False)


def _in_order(files: Files, effort: Effort) -> Iterator[pa.RecordBatch]:
    return in_order(files, CLUSTER_COLUMN, effort.memory_megabytes)


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
    if CLUSTER_COLUMN not in table.columns.names or effort.cluster_percent is None:
        return False
    log = DeltaTable(warehouse.path(table))
    rows = log.count()
    new = rows - (log.transaction_version(CLUSTERED) or 0)
    return rows > 0 and new * 100 >= rows * effort.cluster_percent


def cluster(warehouse: Warehouse, table: Table, effort: Effort) -> None:
    """Rewrite the whole table in the order of its wallets.

    Raises:
        CommitFailedError: rows were changed, or files joined, meanwhile.
    """
    files = _files(warehouse, table)
    added = written(files, _in_order(files, effort), effort.target_megabytes * MEGABYTE)
    mark = (CLUSTERED, sum(file.records for file in added))
    warehouse.replace(table, files.names, added, "clustering", changed=False, transaction=mark)


def make_checkpoint(warehouse: Warehouse, table: Table) -> int:
    """Make a checkpoint of the log, at which readers begin whatever was before; its version."""
    log = DeltaTable(warehouse.path(table))
    log.create_checkpoint()
    return log.version()
