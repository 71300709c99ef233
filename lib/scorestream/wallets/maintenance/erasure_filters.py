"""Filters of the rows that the command `forget` erases: of one wallet, or older than a time."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property, reduce
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from scorestream.infra.delta.data_files import Condition
from scorestream.infra.delta.table import Table
from scorestream.wallets.core.wallet_keys import wallet_key, wallet_keys
from scorestream.wallets.maintenance.address_search import WalletSearch
from scorestream.wallets.schema.tables import REJECTS, SCORES, TRANSACTIONS

# The column with the age of a row, in unix seconds or as a timestamp.
AGES: Final = {SCORES: "as_of", TRANSACTIONS: "timestamp", REJECTS: "rejected_at"}


@dataclass(frozen=True)
class WalletFilter:
    """Selects all rows of a wallet, however its address is spelt.

    Attributes:
        key: see `wallet_key`.
    """

    key: str

    @classmethod
    def of(cls, address: str) -> WalletFilter:
        """The filter for the wallet of an address."""
        return cls(wallet_key(address))

    @cached_property
    def search(self) -> WalletSearch:
        """Finds the address in bytes."""
        return WalletSearch(self.key)

    def is_named_in(self, text: str) -> bool:
        """Whether a text of the log holds the address, or the key as a word."""
        return self.search.is_in(text) or self._word.search(text) is not None

    @cached_property
    def _word(self) -> re.Pattern[str]:
        case = re.IGNORECASE if self.search.is_hexadecimal else re.NOFLAG
        return re.compile(rf"(?<!\w){re.escape(self.key)}(?!\w)", case)

    def condition(self, table: Table) -> Condition | None:
        """Files that may hold the wallet's key; None if other columns count, too."""
        keyed = "wallet_key" in table.identifiers.owner and not table.identifiers.raw
        return [[("wallet_key", "=", self.key)]] if keyed else None

    def columns(self, table: Table) -> list[str]:
        """The columns that name a wallet, or may hold an address in any form."""
        return list(table.identifiers.decisive)

    def matches(self, table: Table, rows: pa.Table) -> pa.ChunkedArray:
        """Rows that name the wallet; of rows that name none, those that hold its address."""
        nobody, none = (pa.repeat(value, rows.num_rows) for value in (True, False))
        # Files may be older than a column.
        named = [rows[n] for n in table.identifiers.owner if n in rows.column_names]
        ours = [
            pc.equal(wallet_keys(column), self.key).fill_null(fill_value=False) for column in named
        ]
        names_wallet = reduce(pc.or_, ours, none)
        nobodys = reduce(pc.and_, [column.is_null() for column in named], nobody)
        raw = [rows[name] for name in table.identifiers.raw if name in rows.column_names]
        return pc.or_(names_wallet, self._hold_address(nobodys, raw)) if raw else names_wallet

    def _hold_address(self, nobodys: pa.Array, raw: list[pa.ChunkedArray]) -> pa.Array:
        columns = [column.to_pylist() for column in raw]
        return pa.array(
            nobody and self._contains(values)
            for nobody, *values in zip(nobodys.to_pylist(), *columns, strict=True)
        )

    def _contains(self, values: Iterable[Any]) -> bool:
        return any(value is not None and self._is_address(value) for value in values)

    def _is_address(self, value: Any) -> bool:
        if not isinstance(value, str | bytes):
            return self._contains(value.values() if isinstance(value, dict) else _items(value))
        text = value.decode(errors="replace") if isinstance(value, bytes) else value
        return wallet_key(text) == self.key or self.search.is_in(value)


def _items(value: Any) -> Iterable[Any]:
    """What a list holds, or a map, which comes as pairs; a number holds nothing."""
    return value if isinstance(value, list | tuple) else ()


@dataclass(frozen=True)
class AgeFilter:
    """Selects rows older than a time.

    Attributes:
        moment: unix seconds.
    """

    moment: int

    def condition(self, table: Table) -> Condition | None:
        """Files that may hold older rows."""
        return None if table == REJECTS else [[(AGES[table], "<", self.moment)]]

    def columns(self, table: Table) -> list[str]:
        """The column with the age."""
        return [AGES[table]]

    def matches(self, table: Table, rows: pa.Table) -> pa.ChunkedArray:
        """Rows older than the time; rows without a time do not match."""
        moment = datetime.fromtimestamp(self.moment, UTC) if table == REJECTS else self.moment
        return pc.less(rows[AGES[table]], moment).fill_null(fill_value=False)
