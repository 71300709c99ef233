"""Deletes rows from a table's data files, and finds old files that still hold them.

delta-rs' own delete conflicts with every append of a stream, as the new rows might match, too;
beside a busy stream it would never end. Here only the files with matching rows are rewritten, which
conflicts with no append. Rows that are appended after the start are not deleted.
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

from scorestream.infra.delta.commit_retries import retry_commit
from scorestream.infra.delta.data_files import (
    COMPRESSION,
    Condition,
    DataFile,
    describe_file,
    new_file_name,
)
from scorestream.infra.delta.optimize import make_checkpoint
from scorestream.infra.delta.table import Table
from scorestream.infra.delta.transaction_log import (
    LoggedNames,
    expire_log,
    is_committed,
    read_logged_names,
)
from scorestream.infra.delta.warehouse import Warehouse
from scorestream.infra.storage.filesystem import filesystem_of, list_modified_files

# Files that no commit names may be those of a running task; none runs for so long.
UNKNOWN_HOURS: Final = 24
FILES_AT_ONCE: Final = 4
S = TypeVar("S")
T = TypeVar("T")


class RowFilter(Protocol):
    """Selects the rows to delete."""

    def condition(self, table: Table) -> Condition | None:
        """A condition by which the log's statistics exclude files; None: all files may match."""

    def columns(self, table: Table) -> list[str]:
        """The columns that `matches` needs."""

    def matches(self, table: Table, rows: pa.Table) -> pa.ChunkedArray:
        """Whether each row is to be deleted; never null."""


class DeletedRows(NamedTuple):
    """How many rows of how many files were, or would be, deleted."""

    rows: int
    files: int


def count_rows(warehouse: Warehouse, table: Table, row_filter: RowFilter) -> DeletedRows:
    """Count the rows that match, and their files."""
    uris = warehouse.files(table, row_filter.condition(table))
    counts = _map_in_threads(lambda uri: _count_matches(uri, table, row_filter), uris)
    return DeletedRows(sum(counts), sum(count > 0 for count in counts))


def delete_rows(warehouse: Warehouse, table: Table, row_filter: RowFilter) -> DeletedRows:
    """Delete matching rows in one commit; readers do not see them any more, old files still exist.

    A checkpoint follows, so that the log's statistics do not name the rows either.

    Raises:
        DeltaError: conflicts with other commits, again and again.
    """
    deleted = retry_commit(
        f"forgetting in {warehouse.path(table)}", lambda: _delete_rows(warehouse, table, row_filter)
    )
    make_checkpoint(warehouse, table)
    return deleted


def _delete_rows(warehouse: Warehouse, table: Table, row_filter: RowFilter) -> DeletedRows:
    uris = warehouse.files(table, row_filter.condition(table))
    counts = _map_in_threads(lambda uri: _count_matches(uri, table, row_filter), uris)
    affected = [uri for uri, count in zip(uris, counts, strict=True) if count]
    if affected:
        rewritten = _map_in_threads(
            lambda uri: _rewrite_without(warehouse.root, uri, table, row_filter), affected
        )
        added = [file for file in rewritten if file is not None]
        _commit_replacement(warehouse, table, [_name(uri) for uri in affected], added)
    return DeletedRows(sum(counts), len(affected))


def _commit_replacement(
    warehouse: Warehouse, table: Table, removed: Sequence[str], added: Sequence[DataFile]
) -> None:
    """Commit the new files; a commit that is in the log counts, whatever error was raised.

    The new files of a failed commit stay: it may only be late. `compact_tables --vacuum-hours`
    deletes uncommitted files.
    """
    reason, place = f"forget {uuid4()}", warehouse.path(table)
    before = DeltaTable(place).version()
    try:
        warehouse.replace(table, removed, added, reason)
    except (DeltaRsError, OSError):
        if not is_committed(place, before, reason):
            raise


def _count_matches(uri: str, table: Table, row_filter: RowFilter) -> int:
    columns = row_filter.columns(table)
    groups = read_row_groups(uri, columns)
    return sum(pc.sum(row_filter.matches(table, rows)).as_py() or 0 for rows in groups)


def read_row_groups(uri: str, columns: list[str] | None = None) -> Iterator[pa.Table]:
    """Read a Parquet file, one row group at a time; columns that it lacks are left out."""
    filesystem, path = filesystem_of(uri)
    with pq.ParquetFile(path, filesystem=filesystem) as file:
        for number in range(file.metadata.num_row_groups):
            yield file.read_row_group(number, columns, use_threads=False)


def _rewrite_without(root: str, uri: str, table: Table, row_filter: RowFilter) -> DataFile | None:
    """Rewrite a file without the matching rows; None if no row is left."""
    filesystem, path = filesystem_of(uri)
    name = new_file_name()
    new = f"{path.rpartition('/')[0]}/{name}"
    schema = pq.read_schema(path, filesystem=filesystem)
    left = 0
    with pq.ParquetWriter(new, schema, filesystem=filesystem, compression=COMPRESSION) as writer:
        for rows in read_row_groups(uri):
            remaining = rows.filter(pc.invert(row_filter.matches(table, rows)))
            left += remaining.num_rows
            if remaining.num_rows:
                writer.write_table(remaining, row_group_size=remaining.num_rows)
    if left:
        return describe_file(root, table, name)
    filesystem.delete_file(new)
    return None


class UnneededFiles(NamedTuple):
    """Data files with matching rows that the newest version does not need.

    Attributes:
        deletable: no version in the log needs them; a commit has named them, or they are older than
            any running task.
        needed: older versions in the log need them.
        unknown: a running task may still commit them.
    """

    deletable: list[str]
    needed: list[str]
    unknown: list[str]


def find_unneeded_files(
    warehouse: Warehouse, table: Table, row_filter: RowFilter, before: LoggedNames | None = None
) -> UnneededFiles:
    """Find files with matching rows that the newest version does not need.

    Args:
        before: names in the log before its older entries were deleted.
    """
    folder = warehouse.path(table)
    # Files that are committed after this are safe: they are not named yet.
    named = read_logged_names(folder)
    known = named.removed.union(named.added, *(before or ()))
    live = {_name(uri) for uri in warehouse.files(table)}
    since = time.time() - UNKNOWN_HOURS * 3600
    candidates = [
        file for file in list_modified_files(folder, ".parquet") if _name(file[0]) not in live
    ]
    match_flags = _map_in_threads(lambda file: _may_hold(file[0], table, row_filter), candidates)
    unneeded = UnneededFiles([], [], [])
    for (uri, modified), matches in zip(candidates, match_flags, strict=True):
        name = _name(uri)
        settled = name in known or modified < since
        # A file that cannot be read is still being written, or a task died over it.
        if matches or (matches is None and settled):
            free = unneeded.needed if name in named.added else unneeded.deletable
            (free if settled else unneeded.unknown).append(uri)
    return unneeded


def end_old_versions(warehouse: Warehouse, table: Table) -> LoggedNames:
    """Make the log begin at a new checkpoint, which ends all older versions.

    Returns:
        The names of data files that the log had before.
    """
    version = make_checkpoint(warehouse, table)
    before = read_logged_names(warehouse.path(table))
    expire_log(warehouse.path(table), version)
    return before


def find_files_with_rows(
    warehouse: Warehouse, table: Table, row_filter: RowFilter
) -> frozenset[str]:
    """Names of all data files with matching rows, also of files that no version needs."""
    uris = [uri for uri, _ in list_modified_files(warehouse.path(table), ".parquet")]
    match_flags = _map_in_threads(lambda uri: _may_hold(uri, table, row_filter), uris)
    return frozenset(_name(uri) for uri, matches in zip(uris, match_flags, strict=True) if matches)


def _may_hold(uri: str, table: Table, row_filter: RowFilter) -> bool | None:
    """Whether a file has matching rows; None if it cannot be read."""
    try:
        return _count_matches(uri, table, row_filter) > 0
    except pa.ArrowInvalid:
        return None


def _name(uri: str) -> str:
    return uri.rpartition("/")[2]


def _map_in_threads(work: Callable[[S], T], items: Iterable[S]) -> list[T]:
    with ThreadPoolExecutor(FILES_AT_ONCE) as pool:
        return list(pool.map(work, items))
