"""What keeps a table healthy: wallet keys filled in, small files joined, rows clustered by wallet.

delta-rs does not notice two of its own optimizations that replace the same files: both would stand,
and every row twice. So all that replaces files holds `upkeep_lock`. Appends need no lock.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final

from deltalake import CommitProperties, DeltaTable, Transaction, WriterProperties

from scorestream.core.wallets import HEXADECIMAL
from scorestream.io.delta.commits import retried
from scorestream.io.delta.warehouse import Warehouse
from scorestream.io.locks import exclusive_lock
from scorestream.tables import Table

MEGABYTE: Final = 1024 * 1024
# A reader of one wallet reads a group: small enough to be quick, large enough to pack well.
GROUP_ROWS: Final = 32_768
MOST_TASKS: Final = 4
# What is sorted is written to disk several times larger than the table's compressed files.
SPILL_BYTES_A_BYTE: Final = 20
LEAST_SPILL_BYTES: Final = 1024 * MEGABYTE
CLUSTER_COLUMN: Final = "wallet_key"
# A transaction of the log whose version is the number of rows that the clustering has put in order.
CLUSTERED: Final = "compact_tables/clustered_rows"
_WRITER: Final = WriterProperties(compression="ZSTD", max_row_group_size=GROUP_ROWS)
_KEY: Final = (
    f"CASE WHEN regexp_like(wallet_address, '{HEXADECIMAL}') "
    "THEN lower(wallet_address) ELSE wallet_address END"
)


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
    done = retried(
        f"wallet keys of {warehouse.path(table)}",
        lambda: DeltaTable(warehouse.path(table)).update(
            {CLUSTER_COLUMN: _KEY},
            predicate=f"{CLUSTER_COLUMN} IS NULL AND wallet_address IS NOT NULL",
            writer_properties=_WRITER,
        ),
    )
    return int(done["num_updated_rows"])


def compact(warehouse: Warehouse, table: Table, effort: Effort) -> None:
    """Join small files."""
    DeltaTable(warehouse.path(table)).optimize.compact(
        target_size=effort.target_megabytes * MEGABYTE,
        max_concurrent_tasks=MOST_TASKS,
        writer_properties=_WRITER,
    )


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
        CommitFailedError: rows were changed meanwhile.
    """
    log = DeltaTable(warehouse.path(table))
    rows = log.count()
    spill = max(warehouse.size(table) * SPILL_BYTES_A_BYTE, LEAST_SPILL_BYTES)
    log.optimize.z_order(
        [CLUSTER_COLUMN],
        target_size=effort.target_megabytes * MEGABYTE,
        max_concurrent_tasks=MOST_TASKS,
        max_spill_size=effort.memory_megabytes * MEGABYTE,
        max_temp_directory_size=spill,
        writer_properties=_WRITER,
    )
    # An optimization takes no transaction; without one the next run would cluster once more.
    mark = CommitProperties(app_transactions=[Transaction(CLUSTERED, rows)])
    log.create_write_transaction([], "append", log.schema(), commit_properties=mark)


def make_checkpoint(warehouse: Warehouse, table: Table) -> None:
    """Make a checkpoint of the log: readers begin there, whatever was before."""
    DeltaTable(warehouse.path(table)).create_checkpoint()


def clean_log(warehouse: Warehouse, table: Table) -> None:
    """Make a checkpoint of the log; entries older than `delta.logRetentionDuration` go."""
    make_checkpoint(warehouse, table)
    DeltaTable(warehouse.path(table)).cleanup_metadata()


def vacuum(warehouse: Warehouse, table: Table, hours: int) -> int:
    """Delete the files that no version of the last hours needs; how many.

    Files that tasks wrote and nobody committed go, too.
    """
    log = DeltaTable(warehouse.path(table))
    return len(log.vacuum(hours, dry_run=False, enforce_retention_duration=False, full=True))
