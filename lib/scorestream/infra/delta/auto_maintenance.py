"""Maintenance during a stream, so that commits stay quick: shortens logs, joins small files.

A commit lists the log, and every 20th writes a checkpoint with all files of the table: both would
take longer with every commit.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final

from deltalake import DeltaTable

from scorestream.infra.delta.optimize import OptimizeOptions, compact
from scorestream.infra.delta.table import Table
from scorestream.infra.delta.transaction_log import RETENTION, expire_log
from scorestream.infra.delta.warehouse import Warehouse
from scorestream.infra.storage.filesystem import list_modified_files

# Versions that stay readable, beside those of the last minutes, unless the table sets a retention.
VERSIONS_KEPT: Final = 2_000
MIN_SECONDS_KEPT: Final = 600
SMALL_FILES: Final = 256
# It runs in the process of a stream, which needs its memory.
OPTIONS: Final = OptimizeOptions(memory_megabytes=256)


def maintain_table(
    warehouse: Warehouse, table: Table, check: Callable[[], None] = lambda: None
) -> None:
    """Shorten the log, and join some small files if there are many.

    Args:
        warehouse: where the table is.
        table: a table that batches append to.
        check: called repeatedly meanwhile; raises to abort.

    Raises:
        DeltaError, deltalake.exceptions.DeltaError, OSError: it failed this time.
    """
    shorten_log(warehouse, table)
    if warehouse.file_count(table) >= SMALL_FILES:
        compact(warehouse, table, OPTIONS, at_least=SMALL_FILES, most=1, check=check)


def shorten_log(warehouse: Warehouse, table: Table) -> None:
    """Delete entries of the log that no reader of the newest versions needs.

    Versions are kept as long as the table says (`delta.logRetentionDuration`). Where it says
    nothing, 30 days, but no more than the newest `VERSIONS_KEPT` and those of the last
    `MIN_SECONDS_KEPT` seconds.
    """
    log = DeltaTable(warehouse.path(table))
    log.cleanup_metadata()
    if RETENTION in log.metadata().configuration:
        return
    checkpoints = list_modified_files(f"{warehouse.path(table)}/_delta_log", ".checkpoint.parquet")
    expire_log(warehouse.path(table), first_kept(checkpoints, log.version(), time.time()))


def first_kept(checkpoints: Sequence[tuple[str, float]], version: int, now: float) -> int:
    """The version of the last checkpoint from which all versions to keep can be read; 0: none.

    Args:
        checkpoints: URIs, and when each was written, in unix seconds.
        version: the newest one.
        now: unix seconds.
    """
    versions = (
        int(uri.rpartition("/")[2].partition(".")[0])
        for uri, written in checkpoints
        if written <= now - MIN_SECONDS_KEPT
    )
    return max((each for each in versions if each <= version - VERSIONS_KEPT), default=0)
