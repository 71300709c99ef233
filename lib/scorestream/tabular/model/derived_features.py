"""Derived features: SQL expressions over the columns of a row, computed by DuckDB."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Final

import duckdb
import pyarrow as pa

from scorestream.infra.errors import TrainingError

# Expressions come from the configuration; still none of them has any business with files.
_SETTINGS: Final = {
    "threads": 1,
    "enable_external_access": False,
    "autoinstall_known_extensions": False,
    "lock_configuration": True,
}
_FINITE: Final = """
CASE WHEN isfinite(CAST("{name}" AS DOUBLE)) THEN CAST("{name}" AS DOUBLE) END AS "{name}"
"""


def add_derived_features(rows: pa.Table, derived: Mapping[str, str]) -> pa.Table:
    """Add the derived features behind the columns, as numbers.

    Null where an expression fails, or gives nothing or no finite number: a division by 0, for
    instance.

    Raises:
        TrainingError: an expression cannot be computed.
    """
    if not derived:
        return rows
    connection = _connection().cursor()
    try:
        connection.register("given", rows)
        values = _compute(connection, rows.column_names, derived).to_arrow_table()
    except duckdb.Error as error:
        raise TrainingError(f"derived: {str(error).splitlines()[0]}") from None
    finally:
        connection.close()
    return values.combine_chunks()


def _compute(
    connection: duckdb.DuckDBPyConnection, columns: list[str], derived: Mapping[str, str]
) -> duckdb.DuckDBPyRelation:
    try:
        return connection.sql(_statement(columns, derived, "TRY"))
    except duckdb.BinderException:
        # TRY takes no window and nothing random, which baselines may have.
        return connection.sql(_statement(columns, derived, ""))


def _statement(columns: list[str], derived: Mapping[str, str], function: str) -> str:
    computed = ", ".join(f'{function}({sql}) AS "{name}"' for name, sql in derived.items())
    selected = ", ".join(f'"{name}"' for name in columns)
    finite = ", ".join(_FINITE.format(name=name) for name in derived)
    return f"SELECT {selected}, {finite} FROM (SELECT {selected}, {computed} FROM given)"  # noqa: S608


@cache
def _connection() -> duckdb.DuckDBPyConnection:
    return duckdb.connect(config=dict(_SETTINGS))
