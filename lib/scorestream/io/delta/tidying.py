"""What keeps commits quick however long a stream runs: a short log, and few small files.

A commit lists the log, and each 20th writes down all files of the table: both would take longer
with every commit that was ever made.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from typing import Final

from deltalake import DeltaTable

from scorestream.io.delta.upkeep import Effort, compact
from scorestream.io.delta.warehouse import Warehouse
from scorestream.io.filesystem import delete_files, modified_files
from scorestream.tables import Table

# So many versions can be had, and all of the last minutes; more where the table says how long.
VERSIONS_KEPT: Final = 2_000
LEAST_SECONDS_KEPT: Final = 600
RETENTION: Final = "delta.logRetentionDuration"
SMALL_FILES: Final = 256
# In the process of a stream, which has other work to do.
EFFORT: Final = Effort(memory_megabytes=256)
_ENTRY: Final = re.compile(r".*/(\d{20})\.[^/]*(?:json|parquet|crc)$")


def tidy(warehouse: Warehouse, table: Table) -> None:
    """Shorten the log, and join some small files if there are many.

    Raises:
        DeltaError, deltalake.exceptions.DeltaError, OSError: this time it was not done.
    """
    shorten_log(warehouse, table)
    if warehouse.file_count(table) >= SMALL_FILES:
        compact(warehouse, table, EFFORT, at_least=SMALL_FILES, most=1)


def shorten_log(warehouse: Warehouse, table: Table) -> None:
    """Delete entries of the log that no reader of the newest versions needs.

    Versions are kept as long as the table says (`delta.logRetentionDuration`). Where it says
    nothing, 30 days, but no more than the newest `VERSIONS_KEPT` and those of the last
    `LEAST_SECONDS_KEPT` seconds.
    """
    log = DeltaTable(warehouse.path(table))
    log.cleanup_metadata()
    if RETENTION in log.metadata().configuration:
        return
    found = modified_files(f"{warehouse.path(table)}/_delta_log", "")
    delete_files(expired(found, log.version(), time.time()))


def expired(entries: Sequence[tuple[str, float]], version: int, now: float) -> list[str]:
    """The files of a log before the last checkpoint that the versions to keep begin with.

    Args:
        entries: URIs of files, and when each was written, in unix seconds.
        version: the newest one.
        now: unix seconds.
    """
    versions = {uri: int(match[1]) for uri, _ in entries if (match := _ENTRY.match(uri))}
    first = max(
        (
            versions[uri]
            for uri, written in entries
            if uri.endswith(".checkpoint.parquet")
            and versions.get(uri, version) <= version - VERSIONS_KEPT
            and written <= now - LEAST_SECONDS_KEPT
        ),
        default=0,
    )
    return [uri for uri, number in versions.items() if number < first]
