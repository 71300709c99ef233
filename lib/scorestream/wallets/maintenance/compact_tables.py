"""`compact_tables`: small files of the tables joined, rows clustered by wallet, logs kept short."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from deltalake.exceptions import DeltaError as DeltaRsError

from scorestream.infra.config.settings import Settings
from scorestream.infra.delta.auto_maintenance import shorten_log
from scorestream.infra.delta.commit_retries import retried
from scorestream.infra.delta.optimize import (
    Effort,
    cluster,
    compact,
    is_due,
    make_checkpoint,
    upkeep_lock,
)
from scorestream.infra.delta.table import Table
from scorestream.infra.delta.vacuum import vacuum
from scorestream.infra.delta.warehouse import Warehouse
from scorestream.infra.error_text import reason
from scorestream.infra.errors import DeltaError
from scorestream.wallets.maintenance.coverage_cleanup import drop_superseded
from scorestream.wallets.maintenance.wallet_key_backfill import fill_wallet_keys
from scorestream.wallets.schema.tables import COVERAGE, REJECTS, REPLAYS, SCORES, TRANSACTIONS
from scorestream.wallets.schema.views import CATALOG

COMPACTED: Final = (SCORES, TRANSACTIONS, REJECTS, COVERAGE, REPLAYS)
# Readers and tasks may be busy with a file for this long after it was last seen in the log.
MIN_HOURS_KEPT: Final = 24


@dataclass(frozen=True)
class Compacted:
    """What became of a table.

    Attributes:
        before: files.
        after: files.
        filled: rows of an earlier version that got their wallet key.
        clustered: whether it was rewritten in the order of the wallets.
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


def compact_tables(effort: Effort, settings: Settings) -> None:
    """Bring the tables into shape, and say on stdout what became of them.

    A running stream or backfill is not disturbed: files are replaced, and no row of a commit made
    meanwhile is touched.

    Raises:
        DeltaError: a table cannot be read or written.
        InUseError: another process of this machine does the same, or forgets.
    """
    warehouse = Warehouse(settings.warehouse, CATALOG)
    warehouse.create_tables()
    with upkeep_lock(warehouse):
        for table in COMPACTED:
            try:
                print(_bring_into_shape(warehouse, table, effort))
            except (DeltaRsError, OSError) as error:
                raise DeltaError(
                    f"table {warehouse.path(table)} not compacted: {reason(error)}"
                ) from error


def _bring_into_shape(warehouse: Warehouse, table: Table, effort: Effort) -> Compacted:
    before = warehouse.file_count(table)
    if table == COVERAGE:
        retried(f"records of {warehouse.path(table)}", lambda: drop_superseded(warehouse))
    filled = fill_wallet_keys(warehouse, table)
    due = is_due(warehouse, table, effort)
    work = cluster if due else compact
    retried(f"compaction of {warehouse.path(table)}", lambda: work(warehouse, table, effort))
    make_checkpoint(warehouse, table)
    shorten_log(warehouse, table)
    removed = vacuum(warehouse, table, effort.vacuum_hours)
    return Compacted(table.name, before, warehouse.file_count(table), filled, due, removed)
