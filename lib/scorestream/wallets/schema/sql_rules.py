"""The rules of `core.rules` in Spark's SQL: views are made of it, `F.expr` makes columns of it.

DuckDB reads the views translated, see `infra.delta.duckdb_reader`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from scorestream.wallets.core import rules


def wallet_key(address: str) -> str:
    """The key of the wallet that an address (SQL) names; null of null."""
    # In Java `$` also stands before a line break that ends the text.
    pattern = rf"'^{rules.HEXADECIMAL}\\z'"
    return f"if({address} rlike {pattern}, lower({address}), {address})"


WALLET_KEY: Final = wallet_key("wallet_address")
# Rows of earlier versions have an address only.
STORED_WALLET_KEY: Final = f"coalesce(wallet_key, {WALLET_KEY})"


def _flat(column: rules.FlatColumn) -> str:
    part = column.part
    values = [f"{leg}.{part.nested}" for leg in column.legs]
    if part.unused is None:
        return f"coalesce({', '.join(values)})"
    unused = repr(part.unused) if isinstance(part.unused, str) else f"{part.unused:.0f}"
    if not part.nullable:
        return f"coalesce({', '.join(values)}, {unused})"
    nulls = " AND ".join(f"{leg} IS NULL" for leg in column.legs)
    return f"CASE WHEN {nulls} THEN {unused} ELSE coalesce({', '.join(values)}) END"


# Name -> the flat column, of rows that have the leg columns.
FLAT_COLUMNS: Final = {name: _flat(column) for name, column in rules.FLAT_COLUMNS.items()}


def row_number(
    partition_by: str, order: Iterable[str], columns: Mapping[str, str] | None = None
) -> str:
    """Number of a row among those of its partition, from 1: the greatest in an order.

    Args:
        partition_by: names of columns, with commas.
        order: names of columns, compared one after the other; null is less than all values.
        columns: SQL of columns that the rows do not have by name.
    """
    given = columns or {}
    by = ", ".join(f"{given.get(name, name)} DESC" for name in order)
    return f"row_number() OVER (PARTITION BY {partition_by} ORDER BY {by})"
