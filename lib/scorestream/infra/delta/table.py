"""Declarations of tables and views, and the catalog of both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import pyarrow as pa


@dataclass(frozen=True)
class Addresses:
    """The columns in which rows may hold a wallet's address, for `forget --wallet`.

    Attributes:
        wallet: columns that say whose a row is; the wallet's rows go.
        raw: columns that may hold it in any form; where `wallet` says nobody, the row goes with it.
        others: columns in which rows of others may name it; those stay, which `forget` says.
    """

    wallet: tuple[str, ...] = ()
    raw: tuple[str, ...] = ()
    others: tuple[str, ...] = ()

    @property
    def decisive(self) -> tuple[str, ...]:
        """The columns that tell whether a row goes."""
        return (*self.wallet, *self.raw)


NO_ADDRESSES: Final = Addresses()


def addresses_anywhere(columns: pa.Schema, wallet: Sequence[str] = ()) -> Addresses:
    """For tables whose columns the user chooses: all columns but numbers may hold an address.

    Args:
        columns: of the table.
        wallet: names of columns that, where a table has them, say whose a row is.
    """
    owners = tuple(name for name in wallet if name in columns.names)
    texts = (field.name for field in columns if not _is_plain(field.type))
    return Addresses(owners, tuple(name for name in texts if name not in owners))


def _is_plain(kind: pa.DataType) -> bool:
    return bool(pa.types.is_primitive(kind) or pa.types.is_decimal(kind) or pa.types.is_null(kind))


@dataclass(frozen=True)
class Table:
    """A Delta table.

    Attributes:
        columns: in order.
        comment: what it is for.
        addresses: where its rows may hold a wallet's address.
        added_later: columns that tables of an earlier version lack; they are added, and null there.
        statistics: columns by which readers skip files. Long texts and nested columns would only
            bloat the log.
        cluster_by: the column by which the table is put in order; None: it is not.
        column_comments: by name of a column.
    """

    name: str
    columns: pa.Schema
    comment: str
    addresses: Addresses
    added_later: frozenset[str] = frozenset()
    statistics: frozenset[str] = frozenset()
    cluster_by: str | None = None
    column_comments: Mapping[str, str] = field(default_factory=dict, compare=False)


@dataclass(frozen=True)
class View:
    """A view over the tables and over the views declared before it.

    Attributes:
        sql: Spark's; `duckdb_reader` translates it for DuckDB.
        comment: what it is for.
        column_comments: by name of a column.
    """

    name: str
    sql: str
    comment: str
    column_comments: Mapping[str, str] = field(default_factory=dict, compare=False)


@dataclass(frozen=True)
class Catalog:
    """All tables and views that a warehouse knows by name."""

    tables: tuple[Table, ...]
    views: tuple[View, ...] = ()

    @property
    def relations(self) -> frozenset[str]:
        """Names of all that can be read."""
        return frozenset({*(t.name for t in self.tables), *(v.name for v in self.views)})
