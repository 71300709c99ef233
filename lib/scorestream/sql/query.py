"""`query`: one read-only SQL statement over all tables and views."""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable
from typing import Any, Final, TextIO

from pyspark.errors import PySparkException
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from rich.console import Console
from rich.table import Table as TextTable
from rich.text import Text

from scorestream.infra.config.settings import Settings
from scorestream.infra.delta.spark_reader import register
from scorestream.infra.delta.warehouse import Warehouse
from scorestream.infra.display import (
    heading,
    spreadsheet_text,
    visible,
    visible_lines,
)
from scorestream.infra.errors import QueryError
from scorestream.infra.spark.compat import is_command_output
from scorestream.infra.spark.compat_texts import error_summary
from scorestream.infra.spark.session import build_session
from scorestream.infra.sql.output import TABLE_ROWS, Format
from scorestream.infra.sql.spark_guard import ReadOnlySession
from scorestream.wallets.schema.views import CATALOG


def run_query(sql: str, form: Format, settings: Settings) -> None:
    """Run a statement and print its rows on stdout.

    Raises:
        QueryError: not one statement that only reads our tables and views, or it fails.
    """
    spark = build_session("query", settings)
    warehouse = Warehouse(settings.warehouse, CATALOG)
    warehouse.create_tables()
    register(spark, warehouse)
    rows = ReadOnlySession(spark, CATALOG.relations).read(sql)
    try:
        print_rows(rows, form, sys.stdout)
    except PySparkException as error:
        raise QueryError(error_summary(error)) from None


def print_rows(rows: DataFrame, form: Format, out: TextIO) -> None:
    """Print rows; a table is cut, the other forms hold all."""
    _PRINTERS[form](rows, out)


def _print_json(rows: DataFrame, out: TextIO) -> None:
    # Rows are streamed: a result need not fit into the driver's memory.
    named = rows.toDF(*_distinct_names(rows.columns))
    packed = F.struct(*[F.col(f"`{name}`") for name in named.columns])
    lines = named.select(F.to_json(packed, {"ignoreNullFields": "false"}))
    out.writelines(line + "\n" for (line,) in lines.toLocalIterator())


def _distinct_names(names: list[str]) -> list[str]:
    """Column names, those that repeat numbered: a JSON object cannot hold one twice."""
    seen: dict[str, int] = {}
    result = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        result.append(name if seen[name] == 1 else f"{name}_{seen[name]}")
    return result


def _print_csv(rows: DataFrame, out: TextIO) -> None:
    _write_csv(rows, out, str)


def _print_sheet(rows: DataFrame, out: TextIO) -> None:
    _write_csv(rows, out, spreadsheet_text)


def _write_csv(rows: DataFrame, out: TextIO, text: Callable[[str], str]) -> None:
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(map(text, rows.columns))
    for row in rows.toLocalIterator():
        writer.writerow("" if value is None else text(_plain(value)) for value in row)


def _print_table(rows: DataFrame, out: TextIO) -> None:
    table = TextTable(*map(heading, rows.columns))
    shown = rows.limit(TABLE_ROWS + 1).collect()
    # What Spark says of tables and plans may have several lines.
    text = visible_lines if is_command_output(rows) else visible
    for row in shown[:TABLE_ROWS]:
        table.add_row(*("" if value is None else Text(text(_plain(value))) for value in row))
    console = Console(file=out, width=None if out.isatty() else 240)
    console.print(table)
    if len(shown) > TABLE_ROWS:
        console.print(f"the first {TABLE_ROWS} rows; --format json or csv prints all")


def _plain(value: Any) -> str:
    if isinstance(value, bytes | bytearray):
        return bytes(value).decode(errors="backslashreplace")
    if isinstance(value, list):
        return ", ".join(_plain(item) for item in value)
    return str(value)


_PRINTERS: Final = {
    "table": _print_table,
    "json": _print_json,
    "csv": _print_csv,
    "sheet": _print_sheet,
}
