"""The warehouse for the driver: creates tables, commits files, reads small tables.

Every commit is made by delta-rs: it costs hundredths of a second, where Spark's own costs about
one, and all writers of a table then keep the same rules for commits that meet (on a local disk,
Spark's would overwrite a commit of another process).
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import (
    CommitProperties,
    DeltaTable,
    PostCommitHookProperties,
    Transaction,
    write_deltalake,
)
from deltalake.exceptions import CommitFailedError, TableNotFoundError
from deltalake.exceptions import DeltaError as DeltaRsError
from deltalake.schema import Field as DeltaField
from deltalake.transaction import AddAction, RemoveAction

from scorestream.infra.delta.commit_retries import retry_commit
from scorestream.infra.delta.data_files import Condition, DataFile, write_file
from scorestream.infra.delta.schema_evolution import (
    find_missing_columns,
    find_missing_properties,
    table_properties,
)
from scorestream.infra.delta.table import Catalog, Table
from scorestream.infra.delta.table_features import arrow_dataset, refuse_unreadable
from scorestream.infra.delta.transaction_log import is_whole, refuse_damaged_log
from scorestream.infra.error_text import error_summary
from scorestream.infra.errors import DeltaError
from scorestream.infra.storage.lease import fence_application, takeover_error

# To look for expired entries takes longer with every entry: upkeep does that now and then.
_AFTER_COMMIT: Final = PostCommitHookProperties(cleanup_expired_logs=False)
# A commit that takes longer may have come after the entries it is about were deleted; that takes at
# least ten minutes.
_LONG_SECONDS: Final = 60.0
# So many commits of others may come between the log's reading and a commit in the place of files.
_RACES: Final = 100


class FileBounds(NamedTuple):
    """A data file, and the greatest value that it has of some columns."""

    uri: str
    highest: Mapping[str, Any]


class Warehouse:
    """The Delta tables below one folder or object-store prefix.

    Attributes:
        root: the folder or prefix.
        catalog: the tables and views that it knows by name.
        fence: of a lease, by which tables refuse what is appended; None: nothing is refused.
    """

    def __init__(self, root: str, catalog: Catalog) -> None:
        self.root = root
        self.catalog = catalog
        self.fence: tuple[str, int] | None = None
        self._logs: dict[str, DeltaTable] = {}

    def path(self, table: Table) -> str:
        """Where the table is."""
        return f"{self.root}/{table.name}"

    def uri(self, file: DataFile) -> str:
        """Where a data file is."""
        return f"{self.root}/{file.table}/{file.path}"

    def create_tables(self) -> None:
        """Create the tables that are not there yet, empty, and add columns that they lack.

        Raises:
            DeltaError: a column has another type than the code's, or the folder cannot be written.
            DamagedTableError: a commit of a table's log cannot be read.
        """
        for table in self.catalog.tables:
            self.create_table(table)

    def create_table(self, table: Table) -> None:
        """Create one table if it is not there yet, empty, and add columns that it lacks.

        Raises:
            DeltaError: a column has another type than the code's, or the folder cannot be written.
        """
        try:
            # Two jobs that start at the same moment may both make it, or add the same columns.
            retry_commit(f"table {self.path(table)}", lambda: self._create(table))
        except (DeltaRsError, OSError, ValueError) as error:
            raise self._unusable(table, error) from error

    def _unusable(self, table: Table, error: Exception) -> DeltaError:
        reason = error_summary(error)
        return DeltaError(
            f"table {table.name} at {self.path(table)} cannot be used: {reason}; check "
            "SCORESTREAM_WAREHOUSE, that it can be written, and the version that wrote it"
        )

    def _create(self, table: Table) -> None:
        path = self.path(table)
        refuse_damaged_log(path)
        try:
            present = DeltaTable(path)
        except TableNotFoundError:
            if "://" not in path:
                Path(path).mkdir(parents=True, exist_ok=True)
            DeltaTable.create(
                path,
                pa.schema([_add_comment(table, field) for field in table.columns]),
                mode="ignore",
                name=table.name,
                description=table.comment,
                configuration={**table_properties(table)},
            )
            return
        refuse_unreadable(present)
        missing = find_missing_columns(pa.schema(present.schema()), table)
        if missing:
            present.alter.add_columns(
                [DeltaField.from_arrow(_add_comment(table, field)) for field in missing]
            )
        properties = find_missing_properties(present.metadata().configuration, table)
        if properties:
            present.alter.set_table_properties(properties)

    def rows(self, table: Table) -> list[dict[str, Any]]:
        """All rows of a small table."""
        stored = arrow_dataset(DeltaTable(self.path(table))).to_table()
        rows: list[dict[str, Any]] = stored.to_pylist()
        return rows

    def is_empty(self, table: Table) -> bool:
        """Whether the table holds no file."""
        return not DeltaTable(self.path(table)).file_uris()

    def file_count(self, table: Table) -> int:
        """How many data files the table has."""
        return len(DeltaTable(self.path(table)).file_uris())

    def size(self, table: Table) -> int:
        """Bytes of the table's data files."""
        actions = pa.table(DeltaTable(self.path(table)).get_add_actions(flatten=True))
        return int(pc.sum(actions["size_bytes"]).as_py() or 0)

    def files(self, table: Table, condition: Condition | None = None) -> list[str]:
        """URIs of the files that may hold rows of a condition, by the log's statistics."""
        root = self.path(table)
        uris: list[str] = self._log(table).file_uris(file_pruning_predicate=condition)
        # Its own spelling of the folder is that of a URI; our names of files are plain.
        return [f"{root}/{uri.rpartition('/')[2]}" for uri in uris]

    def bounds(
        self, table: Table, condition: Condition | None, columns: Sequence[str]
    ) -> list[FileBounds]:
        """The files that may hold rows of a condition, with the greatest values of columns."""
        files = set(self.files(table, condition))
        if not files:
            return []
        root = self.path(table)
        actions = self.file_statistics(table)
        greatest = [f"max.{name}" for name in columns]
        return [
            FileBounds(f"{root}/{row['path']}", {name: row[f"max.{name}"] for name in columns})
            for row in actions.select(["path", *greatest]).to_pylist()
            if f"{root}/{row['path']}" in files
        ]

    def version(self, table: Table) -> int:
        """The newest version of the table."""
        return self._log(table).version()

    def standing(self, table: Table, application: str) -> tuple[int, int]:
        """The newest version of the table, and the last of an application that it holds; 0: none.

        Both are of one look at the log.
        """
        log = self._log(table)
        return log.version(), log.transaction_version(application) or 0

    def files_of_version(self, table: Table, version: int) -> frozenset[str]:
        """URIs of the files of a version of a table; none where the log begins after it."""
        root = self.path(table)
        try:
            uris = DeltaTable(root, version=version).file_uris()
        except (DeltaRsError, OSError, ValueError):
            return frozenset()
        return frozenset(f"{root}/{uri.rpartition('/')[2]}" for uri in uris)

    def file_statistics(self, table: Table) -> pa.Table:
        """A row a data file: `path`, and `min.COLUMN`, `max.COLUMN`, `null_count.COLUMN`."""
        return pa.table(self._log(table).get_add_actions(flatten=True))

    def transaction_version(self, table: Table, application: str) -> int | None:
        """The last version of the application that the table holds."""
        return self._log(table).transaction_version(application)

    def table_id(self, table: Table) -> str:
        """What tells the table from all others, wherever it is moved to."""
        return str(DeltaTable(self.path(table)).metadata().id)

    def append(
        self,
        table: Table,
        files: Sequence[DataFile],
        transaction: tuple[str, int] | None,
        attempt: tuple[str, int] | None = None,
    ) -> None:
        """Commit files that tasks have written.

        Args:
            table: whose folder they are in.
            files: all or nothing of them; none: no commit.
            transaction: (application id, version); nothing is committed if the table holds that
                version of the application already. None commits always.
            attempt: another one, that decides this in its place: of what a table may lack of a
                version that it has taken. Each attempt has a greater version.

        Raises:
            DeltaError: the commit failed.
            InUseError: a later holder of the lease has been there.
        """
        if not files:
            return
        self._append(table, files, transaction, attempt)

    def add_rows(self, table: Table, rows: pa.Table) -> None:
        """Append rows that the driver has, as `append` does.

        Raises:
            DeltaError: the commit failed.
            InUseError: a later holder of the lease has been there.
        """
        self._append(table, write_file(self.root, table, rows), None)

    def mark(self, table: Table, transaction: tuple[str, int]) -> None:
        """Note that the table holds a version of an application which had no rows for it."""
        self._append(table, [], transaction)

    def last_epoch(self, name: str, tables: Iterable[Table]) -> int:
        """The greatest epoch of a lease that tables have seen; 0: none has, or is there.

        Raises:
            DeltaError: a table cannot be read.
            DamagedTableError: a commit of a table's log cannot be read.
        """
        return max(self._last_epoch(fence_application(name), table) for table in tables)

    def _last_epoch(self, application: str, table: Table) -> int:
        refuse_damaged_log(self.path(table))
        try:
            return self.transaction_version(table, application) or 0
        except TableNotFoundError:
            return 0
        except (DeltaRsError, OSError, ValueError) as error:
            raise self._unusable(table, error) from error

    def fence_off(self, table: Table) -> None:
        """Have a table refuse, from now on, what holders of the lease before ours append.

        Raises:
            InUseError: the table has seen a holder after ours.
        """
        self._append(table, [], None)

    def _append(
        self,
        table: Table,
        files: Sequence[DataFile],
        transaction: tuple[str, int] | None,
        attempt: tuple[str, int] | None = None,
    ) -> None:
        once = attempt or transaction

        def commit() -> None:
            log = self._log(table)
            _refuse_late(log, self.fence)
            if once is not None and _has_transaction(log, once):
                return
            began = time.monotonic()
            log.create_write_transaction(
                [_add_action(file) for file in files],
                "append",
                log.schema(),
                commit_properties=_commit_properties(transaction, attempt, self.fence),
                post_commithook_properties=_AFTER_COMMIT,
            )
            if time.monotonic() - began > _LONG_SECONDS:
                _refuse_unseen(DeltaTable(self.path(table)), files)

        self._commit(table, commit)

    def _log(self, table: Table) -> DeltaTable:
        """The log of a table as it is now.

        It is kept open and read on: to read all of it takes longer with every file that was ever
        added or removed.

        Raises:
            DamagedTableError: a commit of it cannot be read.
        """
        path = self.path(table)
        log = self._logs.get(path)
        try:
            # Whoever made the table anew, or lost its newest commit, begins anew here as well.
            if log is not None and is_whole(path, log.version()):
                log.update_incremental()
            else:
                log = self._logs[path] = DeltaTable(path)
        except (DeltaRsError, OSError):
            refuse_damaged_log(path)
            raise
        refuse_unreadable(log)
        return log

    def _commit(self, table: Table, attempt: Callable[[], None]) -> None:
        """Add rows; a commit that took rows away meanwhile (`forget`) is no reason to fail."""
        action = f"commit to {self.path(table)}"
        try:
            retry_commit(action, attempt)
        except (DeltaRsError, OSError) as error:
            refuse_damaged_log(self.path(table))
            raise DeltaError(f"{action}: {error_summary(error)}") from error

    def replace(
        self,
        table: Table,
        removed: Sequence[str],
        added: Sequence[DataFile],
        reason: str,
        *,
        changed: bool = True,
        transaction: tuple[str, int] | None = None,
    ) -> None:
        """Commit files in the place of others, if all of these are still there.

        That a file goes once only is not left to delta-rs' check of commits that meet: it passes
        over what an optimization took away. The commit is made for the version that was read, or
        not at all; where another one has that number, the log is read again.

        Args:
            table: whose folder they are in.
            removed: names of the files that go.
            added: written files that come.
            reason: what the table's history says of it.
            changed: whether rows changed; else the same rows are only stored otherwise.
            transaction: (application id, version) that is noted with it.

        Raises:
            CommitFailedError: another commit was faster and took one of the files.
            DeltaError: the table has features that are not known here.
        """
        now = round(time.time() * 1000)
        actions: list[AddAction | RemoveAction] = [
            RemoveAction(path, data_change=changed, deletion_timestamp=now) for path in removed
        ]
        actions += [_add_action(file, changed=changed) for file in added]
        properties = _commit_properties(transaction, reason=reason, retries=0)
        for _ in range(_RACES):
            log = self._log(table)
            live = _names(log)
            # It was made, although the answer was another.
            if added and live.issuperset(file.path for file in added):
                return
            if not live.issuperset(removed):
                break
            with contextlib.suppress(CommitFailedError):
                log.create_write_transaction(
                    actions, "append", log.schema(), commit_properties=properties
                )
                return
        raise CommitFailedError("files that it is about are gone, or other commits never ended")

    def write(self, table: Table, rows: pa.Table, *, replace: bool = False) -> None:
        """Append rows that the driver has, or replace the whole content by them."""
        mode: Literal["append", "overwrite"] = "overwrite" if replace else "append"
        # What another optimization stored otherwise meanwhile would be passed over, and stay.
        properties = CommitProperties(max_commit_retries=0 if replace else None)

        def attempt() -> None:
            write_deltalake(self.path(table), rows, mode=mode, commit_properties=properties)

        self._commit(table, attempt)

    def upsert(self, table: Table, rows: pa.Table, keys: Sequence[str]) -> None:
        """Add rows that the driver has, each in place of the row with the same keys, if any.

        Raises:
            DeltaError: the commit failed.
        """
        same = " AND ".join(f"old.{key} = new.{key}" for key in keys)

        def attempt() -> None:
            merge = DeltaTable(self.path(table)).merge(
                rows, same, source_alias="new", target_alias="old"
            )
            merge.when_matched_update_all().when_not_matched_insert_all().execute()

        self._commit(table, attempt)


def _has_transaction(log: DeltaTable, transaction: tuple[str, int]) -> bool:
    application, version = transaction
    done = log.transaction_version(application)
    return done is not None and done >= version


def _refuse_late(log: DeltaTable, fence: tuple[str, int] | None) -> None:
    """Refuse to commit where a later holder of the lease has been.

    One that comes between this look and the commit has committed the same application, and of
    two such commits delta-rs refuses the one that has not seen the other.
    """
    if fence is not None:
        name, epoch = fence
        if (log.transaction_version(name) or 0) > epoch:
            raise takeover_error(name.partition("/")[2])


def _refuse_unseen(log: DeltaTable, files: Sequence[DataFile]) -> None:
    """Refuse to believe in a commit that readers do not see.

    A process that was stopped in the midst of it for many minutes may have made it under a number
    that others had used, and whose entry was deleted as an old one.
    """
    named = _names(log)
    if not named.issuperset(file.path for file in files):
        raise DeltaError(
            "a commit took so long that its place in the log was gone, or its files were joined "
            "with others meanwhile: the next start finds out"
        )


def _names(log: DeltaTable) -> set[str]:
    """Names of the data files of a version."""
    return set(pa.table(log.get_add_actions())["path"].to_pylist())


def _commit_properties(
    *transactions: tuple[str, int] | None, reason: str | None = None, retries: int | None = None
) -> CommitProperties:
    fences = [Transaction(*each) for each in transactions if each is not None]
    return CommitProperties(
        custom_metadata={"userMetadata": reason} if reason else None,
        max_commit_retries=retries,
        app_transactions=fences,
    )


def _add_action(file: DataFile, *, changed: bool = True) -> AddAction:
    return AddAction(
        path=file.path,
        size=file.size,
        partition_values={},
        modification_time=round(time.time() * 1000),
        data_change=changed,
        stats=file.statistics,
    )


def _add_comment(table: Table, field: pa.Field) -> pa.Field:
    comment = table.column_comments.get(field.name)
    return field.with_metadata({"comment": comment}) if comment else field
