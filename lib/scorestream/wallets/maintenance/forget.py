"""`forget`: deletes a wallet, or rows older than an age, from the tables and all other places.

1. For a wallet: list what else is below the warehouse, and find the trainings that had its rows.
2. Delete the rows, in one commit per table, after rows of an earlier version got their wallet keys.
   A checkpoint of the log follows, which does not name the wallet.
3. For a wallet: treat the files beside the tables, and those of trainings and models.
4. Delete data files that no version needs. To purge, first give earlier readers and writers time to
   finish, and end the old versions.
5. Print what remains.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from deltalake import DeltaTable
from deltalake.exceptions import DeltaError as DeltaRsError

from scorestream.infra.config.settings import Settings
from scorestream.infra.delta.optimize import maintenance_lock
from scorestream.infra.delta.row_deletion import (
    UNKNOWN_HOURS,
    UnneededFiles,
    count_rows,
    delete_rows,
    end_old_versions,
    find_files_with_rows,
    find_unneeded_files,
)
from scorestream.infra.delta.table import Table
from scorestream.infra.delta.table_features import refuse_unreadable
from scorestream.infra.delta.transaction_log import find_log_entries, log_retention
from scorestream.infra.delta.warehouse import Warehouse
from scorestream.infra.error_text import error_summary
from scorestream.infra.errors import DeltaError, InUseError, ModelError
from scorestream.infra.storage.file_kinds import Treatment
from scorestream.infra.storage.filesystem import delete_files
from scorestream.wallets.maintenance.erasure_filters import AGES, AgeFilter, WalletFilter
from scorestream.wallets.maintenance.forget_files import (
    ForgottenFile,
    forget_in_file,
    list_contents,
)
from scorestream.wallets.maintenance.wallet_key_backfill import fill_wallet_keys
from scorestream.wallets.schema.tables import TABLES
from scorestream.wallets.schema.views import CATALOG

if TYPE_CHECKING:
    from scorestream.wallets.maintenance.forget_models import AffectedTraining

FORGETTABLE: Final = {table.name: table for table in AGES}


@dataclass(frozen=True)
class ForgetOptions:
    """Options of one run.

    Attributes:
        row_filter: the rows to delete.
        tables: names of the tables; None: all tables, for a wallet all other places, too.
        dry_run: only print what would be deleted.
        purge: end the old versions, and delete their data files with such rows.
        wait_seconds: time that earlier readers and writers get to finish before a purge.
    """

    row_filter: WalletFilter | AgeFilter
    tables: Sequence[str] | None = None
    dry_run: bool = False
    purge: bool = False
    wait_seconds: float = 60.0


def forget(options: ForgetOptions, settings: Settings) -> None:
    """Forget rows, and print on stdout what was found, what was done and what remains.

    Raises:
        DeltaError: a table cannot be read or written, or files with such rows are left.
        ModelError: the store of models failed.
        InUseError: another process of this machine forgets, compacts, or uses such rows.
    """
    warehouse = Warehouse(settings.warehouse, CATALOG)
    warehouse.create_tables()
    with maintenance_lock(warehouse):
        try:
            _ForgetRun(warehouse, settings, options).run()
        except (DeltaRsError, OSError) as error:
            raise DeltaError(
                f"not all is forgotten: {error_summary(error)}; run it again"
            ) from error


@dataclass
class _ForgetRun:
    """One run of `forget`.

    Attributes:
        remains: places that may still hold the rows, each with advice.
        failed: errors of places that could not be treated.
    """

    warehouse: Warehouse
    settings: Settings
    options: ForgetOptions
    remains: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def run(self) -> None:
        """Forget what the options say."""
        row_filter, names = self.options.row_filter, self.options.tables
        if isinstance(row_filter, WalletFilter) and names is None:
            self._forget_everywhere(row_filter)
        else:
            self._forget_in(_tables(row_filter, names))
        if isinstance(row_filter, WalletFilter):
            self.remains += _list_unreached(self.settings)
            if names is not None:
                self.remains.append("all other tables and places: leave out --tables")
        self._print_remains()

    def _forget_everywhere(self, row_filter: WalletFilter) -> None:
        # 1. List what else is below the warehouse, and find the trainings that had its rows.
        contents = list_contents(self.warehouse)
        tables = [*_tables(row_filter, None), *filter(self._is_writable, contents.tables)]
        learned = self._find_trainings(row_filter, tables)
        # 2. to 4.
        self._forget_in(tables, lambda: self._forget_in_files(row_filter, contents.files, learned))
        self.remains += [f"{each}: train anew, and delete what nobody may use" for each in learned]

    def _forget_in(
        self, tables: Sequence[Table], beside: Callable[[], None] = lambda: None
    ) -> None:
        # 2. Delete the rows.
        for table in tables:
            self._delete_rows(table)
        # 3. Treat the files beside the tables.
        beside()
        # 4. Delete data files that no version needs.
        self._delete_files(tables)

    def _is_writable(self, table: Table) -> bool:
        """Whether rows of a table of the user can be deleted."""
        path = self.warehouse.path(table)
        log = DeltaTable(path)
        try:
            refuse_unreadable(log)
        except DeltaError as error:
            self.remains.append(f"{path}: was not looked at: {error}")
            return False
        if log.metadata().partition_columns:
            self.remains.append(f"{path}: was not looked at: it has partitions")
            return False
        return True

    def _delete_rows(self, table: Table) -> None:
        row_filter = self.options.row_filter
        if self.options.dry_run:
            deleted = count_rows(self.warehouse, table, row_filter)
            print(f"{table.name:18} {deleted.rows:10,} rows in {deleted.files:,} files would go")
            return
        if table in TABLES:
            fill_wallet_keys(self.warehouse, table)
        deleted = delete_rows(self.warehouse, table, row_filter)
        print(f"{table.name:18} {deleted.rows:10,} rows of {deleted.files:,} files are gone")

    def _find_trainings(
        self, row_filter: WalletFilter, tables: Sequence[Table]
    ) -> Sequence[AffectedTraining]:
        """Find the trainings that had rows of the wallet, before these are deleted."""
        if not _has_store(self.settings):
            return ()
        # Importing MLflow takes seconds.
        from scorestream.infra.mlflow.store import ModelStore  # noqa: PLC0415
        from scorestream.wallets.maintenance.forget_models import find_affected_trainings  # noqa: PLC0415

        holding = {t.name: find_files_with_rows(self.warehouse, t, row_filter) for t in tables}
        try:
            return find_affected_trainings(ModelStore.of(self.settings), self.warehouse, holding)
        except ModelError as error:
            self.failed.append(str(error))
            return ()

    def _forget_in_files(
        self, row_filter: WalletFilter, files: Sequence[str], learned: Sequence[AffectedTraining]
    ) -> None:
        """Treat files of trainings and models by their store first, then all other files."""
        try:
            for file in self._forget_in_models(row_filter, learned):
                self._report(file)
        except ModelError as error:
            self.failed.append(str(error))
        for path in files:
            try:
                one = forget_in_file(self.warehouse, path, row_filter, dry_run=self.options.dry_run)
            except InUseError as error:
                self.failed.append(str(error))
            else:
                self._report(one)

    def _forget_in_models(
        self, row_filter: WalletFilter, learned: Sequence[AffectedTraining]
    ) -> Iterator[ForgottenFile]:
        if not _has_store(self.settings):
            return
        from scorestream.infra.mlflow.store import ModelStore  # noqa: PLC0415
        from scorestream.wallets.maintenance import forget_models  # noqa: PLC0415

        store, dry_run = ModelStore.of(self.settings), self.options.dry_run
        yield from forget_models.forget_in_trainings(store, row_filter, learned, dry_run=dry_run)
        yield from forget_models.forget_in_copies(self.warehouse, dry_run=dry_run)

    def _report(self, file: ForgottenFile | None) -> None:
        if file is None:
            return
        if file.treatment == Treatment.REPORTED:
            self.remains.append(f"{file.path}: {file.content}: yours to delete")
            return
        would = "would be " if self.options.dry_run else ""
        print(f"{file.path}: {file.content}: {would}{file.treatment.value}")

    def _delete_files(self, tables: Sequence[Table]) -> None:
        """Delete data files with such rows that no version needs; to purge, end old versions first.

        Without a purge only files with rows of a wallet are deleted.
        """
        row_filter, dry_run = self.options.row_filter, self.options.dry_run
        if not (self.options.purge or isinstance(row_filter, WalletFilter)):
            return
        if self.options.purge and not dry_run:
            time.sleep(self.options.wait_seconds)
        for table in tables:
            dead, named = (
                find_unneeded_files(self.warehouse, table, row_filter),
                self._named_in_log(table),
            )
            if self.options.purge and not dry_run and (dead.needed or named):
                before = end_old_versions(self.warehouse, table)
                dead = find_unneeded_files(self.warehouse, table, row_filter, before)
                named = self._named_in_log(table)
            if not dry_run:
                delete_files(dead.deletable)
            if dead.deletable:
                would = "would be " if dry_run else ""
                print(f"{table.name:18} {len(dead.deletable):10,} data files {would}deleted")
            self._record_remains(table, dead, named)

    def _named_in_log(self, table: Table) -> int:
        """Count the entries of a table's log that name the wallet."""
        row_filter = self.options.row_filter
        if not isinstance(row_filter, WalletFilter):
            return 0
        return len(find_log_entries(self.warehouse.path(table), row_filter.is_named_in))

    def _record_remains(self, table: Table, dead: UnneededFiles, named: int) -> None:
        """Record what remains of a table."""
        if dead.unknown:
            # Without a purge, older versions hold the rows anyway.
            (self.failed if self.options.purge else self.remains).append(
                f"{table.name}: {len(dead.unknown)} files hold some that no commit names, as those "
                f"of running tasks: {', '.join(dead.unknown[:3])}: run it again in "
                f"{UNKNOWN_HOURS} hours"
            )
        if dead.needed or named:
            properties = DeltaTable(self.warehouse.path(table)).metadata().configuration
            until = datetime.now(UTC) + log_retention(properties)
            self.remains.append(
                f"{table.name}: {len(dead.needed):,} data files, {named:,} entries of the log, for "
                f"the versions of before: until {until:%Y-%m-%d}, when `compact_tables "
                "--vacuum-hours N` may delete them; --purge does it now"
            )

    def _print_remains(self) -> None:
        if self.remains:
            print("What stays:")
        for one in self.remains:
            print(f"- {one}")
        if self.failed and self.options.dry_run:
            print("\n".join(self.failed))
        elif self.failed:
            raise DeltaError(
                f"the rows are gone, but not all that holds them: {'; '.join(self.failed)}"
            )


def _tables(row_filter: WalletFilter | AgeFilter, names: Sequence[str] | None) -> list[Table]:
    if names is not None:
        return [FORGETTABLE[name] for name in names]
    if isinstance(row_filter, WalletFilter):
        return [table for table in TABLES if table.identifiers.decisive]
    return list(FORGETTABLE.values())


def _has_store(settings: Settings) -> bool:
    """Whether there is a store of models; none is created for this."""
    if settings.mlflow_tracking_uri:
        return True
    return "://" not in settings.warehouse and Path(settings.mlflow_folder, "mlflow.db").exists()


def _list_unreached(settings: Settings) -> Iterator[str]:
    """Places that `forget` does not reach."""
    topics = (
        settings.kafka_input_topic,
        settings.kafka_success_topic,
        settings.kafka_failure_topic,
    )
    yield (
        f"messages in Kafka ({', '.join(topics)}): a --reprocess or a replay brings the wallet "
        "back; docs/tables.md#forgetting says how to delete them"
    )
    others = [
        f"{t.name} ({', '.join(t.identifiers.mentions)})" for t in TABLES if t.identifiers.mentions
    ]
    yield f"what rows of others say of it: {', '.join(others)}"
    yield (
        "what is compressed, encrypted or in base64 in `rejects`; logs of processes; files "
        "elsewhere (inputs, --out, --output, --checkpoint); backups and versions of objects"
    )
