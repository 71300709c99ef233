"""Declarations of tables and views, and the catalog of both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import pyarrow as pa


@dataclass(frozen=True)
class Identifiers:
    """The columns in which rows may hold the identifier of somebody whose data is erased.

    Attributes:
        owner: columns that say whose a row is; the owner's rows are erased.
        raw: columns that may hold it in any form; a row without an owner is erased with it.
        mentions: columns in which rows of others may have it; these stay, and are reported.
    """

    owner: tuple[str, ...] = ()
    raw: tuple[str, ...] = ()
    mentions: tuple[str, ...] = ()

    @property
    def decisive(self) -> tuple[str, ...]:
        """The columns that decide whether a row is erased."""
        return (*self.owner, *self.raw)


NO_IDENTIFIERS: Final = Identifiers()


def identifiers_anywhere(columns: pa.Schema, owner: Sequence[str] = ()) -> Identifiers:
    """For tables whose columns the user chooses: all columns but numbers may hold an identifier.

    Args:
        columns: of the table.
        owner: names of columns that, where a table has them, say whose a row is.
    """
    owners = tuple(name for name in owner if name in columns.names)
    texts = (field.name for field in columns if not _is_number(field.type))
    return Identifiers(owners, tuple(name for name in texts if name not in owners))


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_primitive(kind) or pa.types.is_decimal(kind) or pa.types.is_null(kind))


@dataclass(frozen=True)
class Column:
    """A column of a table, as the table's owner declares it.

    Attributes:
        comment: what it means.
        statistics: whether readers skip files by it. Long texts and nested columns would only
            bloat the log.
        added_later: whether tables of an earlier version lack it; it is added, and null there.
        grows: whether tables of an earlier version may lack fields of it, which is a struct; they
            are added, and null there.
    """

    name: str
    type: pa.DataType
    comment: str
    statistics: bool = False
    added_later: bool = False
    grows: bool = False


@dataclass(frozen=True)
class Table:
    """A Delta table.

    Attributes:
        columns: in order.
        comment: what it is for.
        identifiers: where its rows may hold the identifier of somebody.
        added_later: names of columns that tables of an earlier version lack.
        growing: names of columns of which tables of an earlier version may lack fields.
        statistics: names of columns by which readers skip files.
        cluster_by: the column by which the table is put in order; None: it is not.
        column_comments: by name of a column.
    """

    name: str
    columns: pa.Schema
    comment: str
    identifiers: Identifiers
    added_later: frozenset[str] = frozenset()
    growing: frozenset[str] = frozenset()
    statistics: frozenset[str] = frozenset()
    cluster_by: str | None = None
    column_comments: Mapping[str, str] = field(default_factory=dict, compare=False)

    @classmethod
    def of_columns(
        cls,
        name: str,
        columns: Sequence[Column],
        *,
        comment: str,
        identifiers: Identifiers,
        cluster_by: str | None = None,
    ) -> Table:
        """The table that has these columns, in order."""
        return cls(
            name,
            pa.schema([(column.name, column.type) for column in columns]),
            comment,
            identifiers,
            added_later=frozenset(column.name for column in columns if column.added_later),
            growing=frozenset(column.name for column in columns if column.grows),
            statistics=frozenset(column.name for column in columns if column.statistics),
            cluster_by=cluster_by,
            column_comments={column.name: column.comment for column in columns},
        )


@dataclass(frozen=True)
class View:
    """A view over the tables and over the views declared before it.

    Attributes:
        sql: Spark's; `duckdb_reader` translates it for DuckDB.
        comment: what it is for.
        column_comments: by name of a column; each column of the view must have one.
    """

    name: str
    sql: str
    comment: str
    column_comments: Mapping[str, str] = field(compare=False)


@dataclass(frozen=True)
class Catalog:
    """All tables and views that a warehouse knows by name."""

    tables: tuple[Table, ...]
    views: tuple[View, ...] = ()

    @property
    def relations(self) -> frozenset[str]:
        """Names of all that can be read."""
        return frozenset({*(t.name for t in self.tables), *(v.name for v in self.views)})
