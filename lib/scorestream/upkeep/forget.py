"""`forget`: a wallet's rows, or those older than an age, out of the tables and out of their files.

1. rows of an earlier version get their wallet keys
2. the rows are taken out, in one commit a table: no reader sees them from then on; a checkpoint of
   the log follows, so that no reader goes by an earlier one
3. readers that began before get some time to finish
4. files are deleted that hold such rows and that no reader needs any more; of a wallet, its address
   goes out of the logs, too
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
from deltalake.exceptions import DeltaError as DeltaRsError

from scorestream.core.wallets import HEXADECIMAL, wallet_key, wallet_keys
from scorestream.errors import DeltaError
from scorestream.io.delta.files import Condition
from scorestream.io.delta.forgetting import (
    UNKNOWN_HOURS,
    Forgotten,
    count_rows,
    dead_files,
    take_out,
)
from scorestream.io.delta.log import take_out_of_log
from scorestream.io.delta.upkeep import fill_wallet_keys, make_checkpoint, upkeep_lock
from scorestream.io.delta.warehouse import Warehouse
from scorestream.io.filesystem import delete_files
from scorestream.io.reasons import reason
from scorestream.settings import Settings
from scorestream.tables import REJECTS, SCORES, TRANSACTIONS, Table

FORGETTABLE: Final = {table.name: table for table in (SCORES, TRANSACTIONS, REJECTS)}
# What tells how old a row is, in unix seconds or as a timestamp.
AGES: Final = {SCORES: "as_of", TRANSACTIONS: "timestamp", REJECTS: "rejected_at"}
# An address as long as this stands for nothing else, wherever it is found.
UNMISTAKABLE: Final = re.compile("0x[0-9a-f]{40,}")


@dataclass(frozen=True)
class OneWallet:
    """All rows of a wallet, however its address is spelt.

    Attributes:
        key: see `wallet_key`.
    """

    key: str

    @classmethod
    def of(cls, address: str) -> OneWallet:
        """The wallet that an address names."""
        return cls(wallet_key(address))

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """The address in a text, in any spelling of the wallet."""
        any_case = re.IGNORECASE if re.match(HEXADECIMAL, self.key) else re.NOFLAG
        return re.compile(rf"(?<!\w){re.escape(self.key)}(?!\w)", any_case)

    def condition(self, table: Table) -> Condition | None:
        """Files that may hold its key."""
        return None if table == REJECTS else [[("wallet_key", "=", self.key)]]

    def columns(self, table: Table) -> list[str]:
        """The address, and of rejects the raw bytes."""
        return ["wallet_address", *(("key", "value") if table == REJECTS else ())]

    def among(self, table: Table, rows: pa.Table) -> pa.ChunkedArray:
        """Rows of its address; rejects of no known wallet go where their bytes have it."""
        ours = pc.equal(wallet_keys(rows["wallet_address"]), self.key).fill_null(False)
        return pc.or_(ours, self._raw(rows)) if table == REJECTS else ours

    def _raw(self, rejects: pa.Table) -> pa.Array:
        if not UNMISTAKABLE.fullmatch(self.key):
            return pa.repeat(False, rejects.num_rows)
        key = self.key.encode()
        columns = (rejects[name].to_pylist() for name in self.columns(REJECTS))
        return pa.array(
            wallet is None and any(key in (raw or b"").lower() for raw in raws)
            for wallet, *raws in zip(*columns, strict=True)
        )


@dataclass(frozen=True)
class OlderThan:
    """Rows of before a moment.

    Attributes:
        moment: unix seconds.
    """

    moment: int

    def condition(self, table: Table) -> Condition | None:
        """Files that may hold such rows."""
        return None if table == REJECTS else [[(AGES[table], "<", self.moment)]]

    def columns(self, table: Table) -> list[str]:
        """What tells the age."""
        return [AGES[table]]

    def among(self, table: Table, rows: pa.Table) -> pa.ChunkedArray:
        """Rows of before the moment; those that have no time stay."""
        moment = datetime.fromtimestamp(self.moment, UTC) if table == REJECTS else self.moment
        return pc.less(rows[AGES[table]], moment).fill_null(False)


@dataclass(frozen=True)
class ForgetOptions:
    """Options of one run.

    Attributes:
        what: which rows.
        tables: names of the tables.
        dry_run: only say how many.
        purge: delete the files, too, and do not leave them to `compact_tables`.
        wait_seconds: how long readers that began before may finish with the files.
    """

    what: OneWallet | OlderThan
    tables: Sequence[str] = tuple(FORGETTABLE)
    dry_run: bool = False
    purge: bool = False
    wait_seconds: float = 60.0


def forget(options: ForgetOptions, settings: Settings) -> None:
    """Forget rows, and say on stdout how many.

    Raises:
        DeltaError: a table cannot be read or written, or files are left that hold such rows.
        InUseError: another process of this machine forgets, or compacts.
    """
    warehouse = Warehouse(settings.warehouse)
    warehouse.create_tables()
    tables = [FORGETTABLE[name] for name in options.tables]
    with upkeep_lock(warehouse):
        try:
            _forget(warehouse, tables, options)
        except (DeltaRsError, OSError) as error:
            raise DeltaError(f"not all is forgotten: {reason(error)}; run it again") from error


def _forget(warehouse: Warehouse, tables: Sequence[Table], options: ForgetOptions) -> None:
    what = options.what
    if options.dry_run:
        for table in tables:
            taken = count_rows(warehouse, table, what)
            print(f"{table.name:14} {taken.rows:10,} rows in {taken.files:,} files would go")
        return
    for table in tables:
        # 1.
        fill_wallet_keys(warehouse, table)
        # 2.
        taken = take_out(warehouse, table, what)
        print(f"{table.name:14} {taken.rows:10,} rows of {taken.files:,} files are gone")
        make_checkpoint(warehouse, table)
    if options.purge:
        # 3.
        time.sleep(options.wait_seconds)
        # 4.
        _purge(warehouse, tables, what)


def _purge(warehouse: Warehouse, tables: Sequence[Table], what: OneWallet | OlderThan) -> None:
    left = list(_purged(warehouse, tables, what))
    if left:
        raise DeltaError(
            f"the rows are gone, but {len(left)} files hold some that no commit names, as those of "
            f"running tasks: {', '.join(left[:3])}; run it again in {UNKNOWN_HOURS} hours"
        )


def _purged(warehouse: Warehouse, tables: Sequence[Table], what: Forgotten) -> Iterator[str]:
    """Delete dead files; those that cannot be deleted yet come out."""
    for table in tables:
        dead = dead_files(warehouse, table, what)
        delete_files(dead.free)
        commits = (
            take_out_of_log(warehouse.path(table), what.pattern)
            if isinstance(what, OneWallet)
            else 0
        )
        print(f"{table.name:14} {len(dead.free):10,} files deleted, {commits:,} commits cleaned")
        yield from dead.unknown
