"""Deletes files that no version has needed for long enough.

When a file went is noted by whoever sees it gone first, in a file of the warehouse: the log itself
forgets that within the hour (`delta.deletedFileRetentionDuration`), or its checkpoints would grow
with every file that was ever joined. So a file is kept too long, if anything; and a clock that is
set back, or a copy of the warehouse with new times of files, deletes nothing early.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from typing import Final

from deltalake import DeltaTable

from scorestream.infra.delta.table import Table
from scorestream.infra.delta.warehouse import Warehouse
from scorestream.infra.storage.filesystem import (
    delete_files,
    list_modified_files,
    read_text,
    write_text,
)

_HOUR: Final = 3600


def vacuum(warehouse: Warehouse, table: Table, hours: int | None) -> int | None:
    """Record files that no version needs; delete those recorded `hours` ago, and count them.

    Files that tasks wrote and nobody committed are among them; one that is committed after all is
    noted no more. None for hours: delete nothing.
    """
    now = time.time()
    unneeded = _find_unneeded(warehouse, table)
    noted = _read_marks(warehouse, table)
    since = {name: min(noted.get(name, now), now) for name in unneeded}
    limit = 0.0 if hours is None else now - hours * _HOUR
    gone = [name for name, at in since.items() if at <= limit]
    delete_files(f"{warehouse.path(table)}/{name}" for name in gone)
    _write_marks(warehouse, table, {name: at for name, at in since.items() if at > limit})
    return None if hours is None else len(gone)


def _find_unneeded(warehouse: Warehouse, table: Table) -> list[str]:
    """Data files on the disk that are not of the newest version."""
    # In this order: what is committed between the two is known for what it is.
    uris = [uri for uri, _ in list_modified_files(warehouse.path(table), ".parquet")]
    log = DeltaTable(warehouse.path(table))
    live = {uri.rpartition("/")[2] for uri in log.file_uris()}
    return [name for name in (uri.rpartition("/")[2] for uri in uris) if name not in live]


def _place(warehouse: Warehouse, table: Table) -> str:
    return f"{warehouse.root}/_checkpoints/upkeep_files/{table.name}.json"


def _read_marks(warehouse: Warehouse, table: Table) -> dict[str, float]:
    """By name, the unix seconds at which a file was first seen to be unneeded."""
    try:
        marks = json.loads(read_text(_place(warehouse, table)) or "{}")
        return {name: float(at) for at, names in marks.items() for name in names}
    except (ValueError, AttributeError, TypeError):
        # A note that cannot be read is begun anew: files are kept the longer.
        return {}


def _write_marks(warehouse: Warehouse, table: Table, since: dict[str, float]) -> None:
    names: defaultdict[str, list[str]] = defaultdict(list)
    for name, at in since.items():
        names[str(at)].append(name)
    if names or _read_marks(warehouse, table):
        write_text(_place(warehouse, table), json.dumps(names))
