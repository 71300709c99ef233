"""Reads tables and views with DuckDB, without a JVM.

The same statements give the same rows as in Spark: nulls sort as there, times are UTC.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote

import duckdb
import sqlglot
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError as DeltaRsError

from scorestream.infra.delta.table import Catalog, Table
from scorestream.infra.delta.table_features import arrow_dataset
from scorestream.infra.delta.warehouse import Warehouse
from scorestream.infra.error_text import error_summary
from scorestream.infra.errors import DeltaError

# The schema `empty` holds the tables' columns and no rows.
_SETTINGS: Final = """
SET TimeZone = 'UTC';
SET default_null_order = 'nulls_first_on_asc_last_on_desc';
SET autoinstall_known_extensions = false;
CREATE MACRO timestamp_seconds(seconds) AS to_timestamp(seconds);
CREATE MACRO xxhash64(content) AS hash(content);
CREATE SCHEMA empty;
"""


def connect(catalog: Catalog) -> duckdb.DuckDBPyConnection:
    """Open a connection with every table and view by name.

    Tables are empty until :func:`refresh` shows what a warehouse holds.
    """
    connection = duckdb.connect()
    connection.execute(_SETTINGS)
    for table in catalog.tables:
        connection.register("columns", table.columns.empty_table())
        connection.execute(f"CREATE TABLE empty.{table.name} AS SELECT * FROM columns")
        connection.unregister("columns")
        show(connection, table, f"empty.{table.name}")
    for view in catalog.views:
        connection.execute(f"CREATE VIEW {view.name} AS {_translate(view.sql)}")
    return connection


def refresh(connection: duckdb.DuckDBPyConnection, warehouse: Warehouse, statement: str) -> None:
    """Point the connection to the newest versions of the tables that a statement reads.

    Raises:
        DeltaError: one of them cannot be read.
    """
    for table in _tables_of(statement, warehouse.catalog):
        try:
            rows = _rows(connection, table, DeltaTable(warehouse.path(table)))
            show(connection, table, rows)
        except (DeltaRsError, OSError, duckdb.Error) as error:
            reason = error_summary(error)
            raise DeltaError(
                f"table {table.name} at {warehouse.path(table)} cannot be read: {reason}; "
                "check SCORESTREAM_WAREHOUSE, and that a job has made the tables"
            ) from error


def _tables_of(statement: str, catalog: Catalog) -> list[Table]:
    """The tables whose names are in a statement, or in a view that it names."""
    words = _words(statement)
    for view in reversed(catalog.views):
        if view.name in words:
            words |= _words(view.sql)
    return [table for table in catalog.tables if table.name in words]


def _words(sql: str) -> set[str]:
    return set(re.findall(r"\w+", sql.lower()))


def _rows(connection: duckdb.DuckDBPyConnection, table: Table, log: DeltaTable) -> str:
    """What stands for a version's rows after FROM."""
    # Its own spelling of a folder is that of a URI.
    files = [unquote(uri) for uri in log.file_uris()]
    if not files:
        return f"empty.{table.name}"
    # DuckDB knows nothing of what newer readers must heed, nor how to reach object stores.
    if log.protocol().min_reader_version > 1 or any("://" in file for file in files):
        connection.register(f"files_of_{table.name}", arrow_dataset(log))
        return f"files_of_{table.name}"
    quoted = ", ".join("'" + file.replace("'", "''") + "'" for file in files)
    return f"read_parquet([{quoted}], union_by_name = true)"


def show(connection: duckdb.DuckDBPyConnection, table: Table, rows: str) -> None:
    """Show rows by the table's name.

    Args:
        connection: of :func:`connect`.
        table: whose name and columns they get.
        rows: what stands for them after FROM.
    """
    # Columns that are younger than all files are null.
    connection.execute(
        f"CREATE OR REPLACE VIEW {table.name} AS SELECT {', '.join(table.columns.names)} FROM "
        f"(FROM empty.{table.name} UNION ALL BY NAME FROM {rows})"
    )


def _translate(sql: str) -> str:
    return sqlglot.transpile(
        sql, read="spark", write="duckdb", unsupported_level=sqlglot.ErrorLevel.RAISE
    )[0]
