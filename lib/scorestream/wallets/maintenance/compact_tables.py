"""`compact_tables`: joins small files of the tables, clusters rows by wallet, shortens logs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from deltalake.exceptions import DeltaError as DeltaRsError

from scorestream.infra.config.settings import Settings
from scorestream.infra.delivery.coverage_cleanup import drop_superseded
from scorestream.infra.delta.auto_maintenance import shorten_log
from scorestream.infra.delta.commit_retries import retry_commit
from scorestream.infra.delta.optimize import (
    OptimizeOptions,
    cluster,
    compact,
    is_clustering_due,
    maintenance_lock,
    make_checkpoint,
)
from scorestream.infra.delta.table import Table
from scorestream.infra.delta.vacuum import vacuum
from scorestream.infra.delta.warehouse import Warehouse
from scorestream.infra.error_text import error_summary
from scorestream.infra.errors import DeltaError
from scorestream.wallets.maintenance.wallet_key_backfill import fill_wallet_keys
from scorestream.wallets.schema.tables import COVERAGE, REJECTS, REPLAYS, SCORES, TRANSACTIONS
from scorestream.wallets.schema.views import CATALOG

COMPACTED: Final = (SCORES, TRANSACTIONS, REJECTS, COVERAGE, REPLAYS)
# Readers and tasks may be busy with a file for this long after it was last seen in the log.
MIN_HOURS_KEPT: Final = 24


@dataclass(frozen=True)
class CompactionResult:
    """What the compaction of a table did.

    Attributes:
        before: number of files before.
        after: number of files after.
        filled: rows of an earlier version that got their wallet key.
        clustered: whether the table was rewritten, sorted by wallet.
        removed: files deleted; None: not asked for.
    """

    table: str
    before: int
    after: int
    filled: int
    clustered: bool
    removed: int | None

    def __str__(self) -> str:
        clustered = ", clustered" if self.clustered else ""
        filled = f", {self.filled:,} wallet keys filled in" if self.filled else ""
        removed = "" if self.removed is None else f", {self.removed:,} deleted"
        return (
            f"{self.table:14} {self.before:8,} files -> {self.after:8,}{clustered}{filled}{removed}"
        )


def compact_tables(options: OptimizeOptions, settings: Settings) -> None:
    """Compact all tables, and print the results on stdout.

    A stream or backfill may run meanwhile: files are replaced, and rows that are committed
    meanwhile are not touched.

    Raises:
        DeltaError: a table cannot be read or written.
        InUseError: another process of this machine does the same, or forgets.
    """
    warehouse = Warehouse(settings.warehouse, CATALOG)
    warehouse.create_tables()
    with maintenance_lock(warehouse):
        for table in COMPACTED:
            try:
                print(_optimize_table(warehouse, table, options))
            except (DeltaRsError, OSError) as error:
                raise DeltaError(
                    f"table {warehouse.path(table)} not compacted: {error_summary(error)}"
                ) from error


def _optimize_table(
    warehouse: Warehouse, table: Table, options: OptimizeOptions
) -> CompactionResult:
    before = warehouse.file_count(table)
    if table == COVERAGE:
        records = f"records of {warehouse.path(table)}"
        retry_commit(records, lambda: drop_superseded(warehouse, table))
    filled = fill_wallet_keys(warehouse, table)
    due = is_clustering_due(warehouse, table, options)
    work = cluster if due else compact
    retry_commit(f"compaction of {warehouse.path(table)}", lambda: work(warehouse, table, options))
    make_checkpoint(warehouse, table)
    shorten_log(warehouse, table)
    removed = vacuum(warehouse, table, options.vacuum_hours)
    return CompactionResult(table.name, before, warehouse.file_count(table), filled, due, removed)
