"""`forget`: a wallet, or rows older than an age, out of the tables and of all that holds them.

1. what there is below the warehouse beside the declared tables, and which trainings had the wallet
2. rows of an earlier version get their wallet keys; the rows are taken out, in one commit a table:
   no reader sees them from then on; a checkpoint of the log follows, which does not name the wallet
3. of a wallet, files beside the tables, and those of trainings and models
4. asked to purge: readers and writers that began before get some time to finish, then the versions
   of before go, and with them the data files that hold such rows
5. it says what stays
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
from scorestream.infra.delta.optimize import upkeep_lock
from scorestream.infra.delta.row_deletion import (
    UNKNOWN_HOURS,
    Dead,
    count_rows,
    dead_files,
    forget_versions,
    holding_files,
    take_out,
)
from scorestream.infra.delta.table import Table
from scorestream.infra.delta.table_features import refuse_unreadable
from scorestream.infra.delta.transaction_log import entries_with, retention
from scorestream.infra.delta.warehouse import Warehouse
from scorestream.infra.error_text import reason
from scorestream.infra.errors import DeltaError, InUseError, ModelError
from scorestream.infra.storage.filesystem import delete_files
from scorestream.infra.storage.places import Treatment
from scorestream.wallets.maintenance.forget_files import Found, contents, forget_in_file
from scorestream.wallets.maintenance.forget_rows import AGES, OlderThan, OneWallet
from scorestream.wallets.maintenance.wallet_key_backfill import fill_wallet_keys
from scorestream.wallets.schema.tables import TABLES
from scorestream.wallets.schema.views import CATALOG

if TYPE_CHECKING:
    from scorestream.wallets.maintenance.forget_models import Learned

FORGETTABLE: Final = {table.name: table for table in AGES}


@dataclass(frozen=True)
class ForgetOptions:
    """Options of one run.

    Attributes:
        what: which rows.
        tables: names of the tables; None: all; of a wallet all other places, too.
        dry_run: only say what would go.
        purge: end the versions of before now, and delete their data files that hold such rows.
        wait_seconds: how long readers and writers that began before may finish before a purge.
    """

    what: OneWallet | OlderThan
    tables: Sequence[str] | None = None
    dry_run: bool = False
    purge: bool = False
    wait_seconds: float = 60.0


def forget(options: ForgetOptions, settings: Settings) -> None:
    """Forget rows, and say on stdout what was found, what became of it and what stays.

    Raises:
        DeltaError: a table cannot be read or written, or files are left that hold such rows.
        ModelError: the store of models failed.
        InUseError: another process of this machine forgets, or compacts, or uses such rows.
    """
    warehouse = Warehouse(settings.warehouse, CATALOG)
    warehouse.create_tables()
    with upkeep_lock(warehouse):
        try:
            _Forgetting(warehouse, settings, options).run()
        except (DeltaRsError, OSError) as error:
            raise DeltaError(f"not all is forgotten: {reason(error)}; run it again") from error


@dataclass
class _Forgetting:
    """One run, and what it will say at its end.

    Attributes:
        stays: what may hold the wallet, and where it is told how that ends.
        failed: what could not be done now.
    """

    warehouse: Warehouse
    settings: Settings
    options: ForgetOptions
    stays: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def run(self) -> None:
        """Forget what the options say."""
        what, names = self.options.what, self.options.tables
        if isinstance(what, OneWallet) and names is None:
            self._forget_everywhere(what)
        else:
            self._forget_in(_tables(what, names))
        if isinstance(what, OneWallet):
            self.stays += _elsewhere(self.settings)
            if names is not None:
                self.stays.append("all other tables and places: leave out --tables")
        self._tell_what_stays()

    def _forget_everywhere(self, what: OneWallet) -> None:
        # 1.
        found = contents(self.warehouse)
        tables = [*_tables(what, None), *filter(self._is_writable, found.tables)]
        learned = self._learned(what, tables)
        # 2. to 4.
        self._forget_in(tables, lambda: self._forget_beside(what, found.files, learned))
        self.stays += [f"{one}: train anew, and delete what nobody may use" for one in learned]

    def _forget_in(
        self, tables: Sequence[Table], beside: Callable[[], None] = lambda: None
    ) -> None:
        # 2.
        for table in tables:
            self._take_out(table)
        # 3.
        beside()
        # 4.
        self._finish(tables)

    def _is_writable(self, table: Table) -> bool:
        """Whether rows of a table that is none of ours can be taken out."""
        path = self.warehouse.path(table)
        log = DeltaTable(path)
        try:
            refuse_unreadable(log)
        except DeltaError as error:
            self.stays.append(f"{path}: was not looked at: {error}")
            return False
        if log.metadata().partition_columns:
            self.stays.append(f"{path}: was not looked at: it has partitions")
            return False
        return True

    def _take_out(self, table: Table) -> None:
        what = self.options.what
        if self.options.dry_run:
            taken = count_rows(self.warehouse, table, what)
            print(f"{table.name:18} {taken.rows:10,} rows in {taken.files:,} files would go")
            return
        if table in TABLES:
            fill_wallet_keys(self.warehouse, table)
        taken = take_out(self.warehouse, table, what)
        print(f"{table.name:18} {taken.rows:10,} rows of {taken.files:,} files are gone")

    def _learned(self, what: OneWallet, tables: Sequence[Table]) -> Sequence[Learned]:
        """The trainings that had rows of the wallet; looked for while the rows are there."""
        if not _has_store(self.settings):
            return ()
        # Importing MLflow takes seconds.
        from scorestream.infra.mlflow.store import ModelStore  # noqa: PLC0415
        from scorestream.wallets.maintenance.forget_models import learned_from  # noqa: PLC0415

        holding = {t.name: holding_files(self.warehouse, t, what) for t in tables}
        try:
            return learned_from(ModelStore.of(self.settings), self.warehouse, holding)
        except ModelError as error:
            self.failed.append(str(error))
            return ()

    def _forget_beside(
        self, what: OneWallet, files: Sequence[str], learned: Sequence[Learned]
    ) -> None:
        """Files of trainings and models first, as their store knows what they are."""
        try:
            for found in self._in_models(what, learned):
                self._tell(found)
        except ModelError as error:
            self.failed.append(str(error))
        for path in files:
            try:
                one = forget_in_file(self.warehouse, path, what, self.options.dry_run)
            except InUseError as error:
                self.failed.append(str(error))
            else:
                self._tell(one)

    def _in_models(self, what: OneWallet, learned: Sequence[Learned]) -> Iterator[Found]:
        if not _has_store(self.settings):
            return
        from scorestream.infra.mlflow.store import ModelStore  # noqa: PLC0415
        from scorestream.wallets.maintenance import forget_models  # noqa: PLC0415

        store, dry_run = ModelStore.of(self.settings), self.options.dry_run
        yield from forget_models.forget_in_trainings(store, what, learned, dry_run)
        yield from forget_models.forget_in_copies(self.warehouse, dry_run)

    def _tell(self, found: Found | None) -> None:
        if found is None:
            return
        if found.treatment == Treatment.TOLD:
            self.stays.append(f"{found.path}: {found.content}: yours to delete")
            return
        would = "would be " if self.options.dry_run else ""
        print(f"{found.path}: {found.content}: {would}{found.treatment.value}")

    def _finish(self, tables: Sequence[Table]) -> None:
        """Delete data files that no version needs any more; asked to purge, end the old versions.

        A wallet's that the log needs no more go in any case.
        """
        what, dry_run = self.options.what, self.options.dry_run
        if not (self.options.purge or isinstance(what, OneWallet)):
            return
        if self.options.purge and not dry_run:
            time.sleep(self.options.wait_seconds)
        for table in tables:
            dead, named = dead_files(self.warehouse, table, what), self._named_in_log(table)
            if self.options.purge and not dry_run and (dead.needed or named):
                before = forget_versions(self.warehouse, table)
                dead = dead_files(self.warehouse, table, what, before)
                named = self._named_in_log(table)
            if not dry_run:
                delete_files(dead.free)
            if dead.free:
                would = "would be " if dry_run else ""
                print(f"{table.name:18} {len(dead.free):10,} data files {would}deleted")
            self._note(table, dead, named)

    def _named_in_log(self, table: Table) -> int:
        """How many entries of a table's log name the wallet."""
        what = self.options.what
        if not isinstance(what, OneWallet):
            return 0
        return len(entries_with(self.warehouse.path(table), what.is_named_in))

    def _note(self, table: Table, dead: Dead, named: int) -> None:
        """Remember what is left of a table."""
        if dead.unknown:
            # Older versions hold the rows all the same where nobody has asked to purge.
            (self.failed if self.options.purge else self.stays).append(
                f"{table.name}: {len(dead.unknown)} files hold some that no commit names, as those "
                f"of running tasks: {', '.join(dead.unknown[:3])}: run it again in "
                f"{UNKNOWN_HOURS} hours"
            )
        if dead.needed or named:
            properties = DeltaTable(self.warehouse.path(table)).metadata().configuration
            until = datetime.now(UTC) + retention(properties)
            self.stays.append(
                f"{table.name}: {len(dead.needed):,} data files, {named:,} entries of the log, for "
                f"the versions of before: until {until:%Y-%m-%d}, when `compact_tables "
                "--vacuum-hours N` may delete them; --purge does it now"
            )

    def _tell_what_stays(self) -> None:
        if self.stays:
            print("What stays:")
        for one in self.stays:
            print(f"- {one}")
        if self.failed and self.options.dry_run:
            print("\n".join(self.failed))
        elif self.failed:
            raise DeltaError(
                f"the rows are gone, but not all that holds them: {'; '.join(self.failed)}"
            )


def _tables(what: OneWallet | OlderThan, names: Sequence[str] | None) -> list[Table]:
    if names is not None:
        return [FORGETTABLE[name] for name in names]
    if isinstance(what, OneWallet):
        return [table for table in TABLES if table.addresses.decisive]
    return list(FORGETTABLE.values())


def _has_store(settings: Settings) -> bool:
    """Whether there is a store of models; none is made for this."""
    if settings.mlflow_tracking_uri:
        return True
    return "://" not in settings.warehouse and Path(settings.mlflow_folder, "mlflow.db").exists()


def _elsewhere(settings: Settings) -> Iterator[str]:
    """What is not reached from here, or is another's."""
    topics = (
        settings.kafka_input_topic,
        settings.kafka_success_topic,
        settings.kafka_failure_topic,
    )
    yield (
        f"messages in Kafka ({', '.join(topics)}): a --reprocess or a replay brings the wallet "
        "back; docs/tables.md#forgetting says how to delete them"
    )
    others = [f"{t.name} ({', '.join(t.addresses.others)})" for t in TABLES if t.addresses.others]
    yield f"what rows of others say of it: {', '.join(others)}"
    yield (
        "what is compressed, encrypted or in base64 in `rejects`; logs of processes; files "
        "elsewhere (inputs, --out, --output, --checkpoint); backups and versions of objects"
    )
