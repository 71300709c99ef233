"""Rows taken out of a table's data files, and the files found that still hold them.

delta-rs' own delete fails whenever a stream commits meanwhile, as the new rows might be meant too;
beside a busy stream it would never end. Here the files that hold rows to be forgotten are written
anew without them, which disturbs no append. Rows that come after the beginning are not looked at.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, NamedTuple, Protocol, TypeVar
from uuid import uuid4

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError as DeltaRsError

from scorestream.infra.delta.commit_retries import retried
from scorestream.infra.delta.data_files import (
    COMPRESSION,
    Condition,
    DataFile,
    described,
    new_name,
)
from scorestream.infra.delta.optimize import make_checkpoint
from scorestream.infra.delta.table import Table
from scorestream.infra.delta.transaction_log import (
    Named,
    expire_log,
    is_made,
    names_in_log,
)
from scorestream.infra.delta.warehouse import Warehouse
from scorestream.infra.storage.filesystem import filesystem_of, modified_files

# Files that no commit names may be those of a running task; none runs for so long.
UNKNOWN_HOURS: Final = 24
FILES_AT_ONCE: Final = 4
S = TypeVar("S")
T = TypeVar("T")


class Forgotten(Protocol):
    """Which rows are to be forgotten."""

    def condition(self, table: Table) -> Condition | None:
        """What the log's statistics can tell of such rows; None: nothing."""

    def columns(self, table: Table) -> list[str]:
        """The columns that decide."""

    def among(self, table: Table, rows: pa.Table) -> pa.ChunkedArray:
        """Whether each of the rows is one of them; never null."""


class Taken(NamedTuple):
    """What was, or would be, taken out of a table."""

    rows: int
    files: int


def count_rows(warehouse: Warehouse, table: Table, what: Forgotten) -> Taken:
    """How many rows there are to be forgotten, and in how many files."""
    uris = warehouse.files(table, what.condition(table))
    counts = _each(lambda uri: _rows_in(uri, table, what), uris)
    return Taken(sum(counts), sum(count > 0 for count in counts))


def take_out(warehouse: Warehouse, table: Table, what: Forgotten) -> Taken:
    """Take the rows out in one commit; readers see them no more, the old files are still there.

    The log's statistics do not hold them from the checkpoint on that follows.

    Raises:
        DeltaError: other commits were faster again and again.
    """
    place = warehouse.path(table)
    taken = retried(f"forgetting in {place}", lambda: _take_out(warehouse, table, what))
    make_checkpoint(warehouse, table)
    return taken


def _take_out(warehouse: Warehouse, table: Table, what: Forgotten) -> Taken:
    uris = warehouse.files(table, what.condition(table))
    counts = _each(lambda uri: _rows_in(uri, table, what), uris)
    held = [uri for uri, count in zip(uris, counts, strict=True) if count]
    if held:
        kept = _each(lambda uri: _without(warehouse.root, uri, table, what), held)
        added = [file for file in kept if file is not None]
        _replace(warehouse, table, [_name(uri) for uri in held], added)
    return Taken(sum(counts), len(held))


def _replace(
    warehouse: Warehouse, table: Table, removed: Sequence[str], added: Sequence[DataFile]
) -> None:
    """Commit; a commit that was made counts as such, whatever the answer was.

    The new files of one that was not made are left: it may yet be made, if it is only late.
    `compact_tables --vacuum-hours` deletes what nobody has committed.
    """
    reason, place = f"forget {uuid4()}", warehouse.path(table)
    before = DeltaTable(place).version()
    try:
        warehouse.replace(table, removed, added, reason)
    except (DeltaRsError, OSError):
        if not is_made(place, before, reason):
            raise


def _rows_in(uri: str, table: Table, what: Forgotten) -> int:
    columns = what.columns(table)
    groups = row_groups(uri, columns)
    return sum(pc.sum(what.among(table, rows)).as_py() or 0 for rows in groups)


def row_groups(uri: str, columns: list[str] | None = None) -> Iterator[pa.Table]:
    """The rows of a Parquet file, group by group; columns that it lacks are left out."""
    filesystem, path = filesystem_of(uri)
    with pq.ParquetFile(path, filesystem=filesystem) as file:
        for number in range(file.metadata.num_row_groups):
            yield file.read_row_group(number, columns, use_threads=False)


def _without(root: str, uri: str, table: Table, what: Forgotten) -> DataFile | None:
    """Write a file anew without the rows; None if nothing is left."""
    filesystem, path = filesystem_of(uri)
    name = new_name()
    new = f"{path.rpartition('/')[0]}/{name}"
    schema = pq.read_schema(path, filesystem=filesystem)
    left = 0
    with pq.ParquetWriter(new, schema, filesystem=filesystem, compression=COMPRESSION) as writer:
        for rows in row_groups(uri):
            kept = rows.filter(pc.invert(what.among(table, rows)))
            left += kept.num_rows
            if kept.num_rows:
                writer.write_table(kept, row_group_size=kept.num_rows)
    if left:
        return described(root, table, name)
    filesystem.delete_file(new)
    return None


class Dead(NamedTuple):
    """Data files that the newest version does not need and that hold rows to be forgotten.

    Attributes:
        free: no version that the log has needs them; a commit has named them, or they are older
            than a task can be.
        needed: by versions that the log still has.
        unknown: a running task may yet commit them.
    """

    free: list[str]
    needed: list[str]
    unknown: list[str]


def dead_files(
    warehouse: Warehouse, table: Table, what: Forgotten, before: Named | None = None
) -> Dead:
    """Find the dead files on the disk, those of earlier commits among them.

    Args:
        before: what the log named before its older entries went.
    """
    folder = warehouse.path(table)
    # What is committed after this is in no danger, as it is not named yet.
    named = names_in_log(folder)
    known = named.removed.union(named.added, *(before or ()))
    live = {_name(uri) for uri in warehouse.files(table)}
    since = time.time() - UNKNOWN_HOURS * 3600
    found = [file for file in modified_files(folder, ".parquet") if _name(file[0]) not in live]
    holds = _each(lambda file: _may_hold(file[0], table, what), found)
    dead = Dead([], [], [])
    for (uri, modified), held in zip(found, holds, strict=True):
        name = _name(uri)
        settled = name in known or modified < since
        # A file that cannot be read is still being written, or a task died over it.
        if held or (held is None and settled):
            free = dead.needed if name in named.added else dead.free
            (free if settled else dead.unknown).append(uri)
    return dead


def forget_versions(warehouse: Warehouse, table: Table) -> Named:
    """End the versions of before now: the log begins at a checkpoint; what it named before."""
    version = make_checkpoint(warehouse, table)
    before = names_in_log(warehouse.path(table))
    expire_log(warehouse.path(table), version)
    return before


def holding_files(warehouse: Warehouse, table: Table, what: Forgotten) -> frozenset[str]:
    """Names of all data files on the disk that hold such rows, those of no version among them."""
    uris = [uri for uri, _ in modified_files(warehouse.path(table), ".parquet")]
    holds = _each(lambda uri: _may_hold(uri, table, what), uris)
    return frozenset(_name(uri) for uri, held in zip(uris, holds, strict=True) if held)


def _may_hold(uri: str, table: Table, what: Forgotten) -> bool | None:
    """Whether a file holds such rows; None if it cannot be read."""
    try:
        return _rows_in(uri, table, what) > 0
    except pa.ArrowInvalid:
        return None


def _name(uri: str) -> str:
    return uri.rpartition("/")[2]


def _each(work: Callable[[S], T], items: Iterable[S]) -> list[T]:
    with ThreadPoolExecutor(FILES_AT_ONCE) as pool:
        return list(pool.map(work, items))
