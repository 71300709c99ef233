"""`query`: one read-only SQL statement over all tables and views."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from typing import Any, Final, TextIO

from pyspark.errors import ParseException, PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from rich.console import Console
from rich.table import Table as TextTable

from scorestream.errors import QueryError
from scorestream.io.delta.spark import register
from scorestream.io.delta.warehouse import Warehouse
from scorestream.settings import Settings
from scorestream.spark.session import build_session
from scorestream.sql.output import TABLE_ROWS, Format

# Commands that only look; every other command of Spark's parser changes something.
READING_COMMANDS: Final = frozenset(
    {
        "DescribeColumn",
        "DescribeColumnCommand",
        "DescribeDeltaHistory",
        "DescribeDeltaDetailCommand",
        "DescribeFunction",
        "DescribeFunctionCommand",
        "DescribeQueryCommand",
        "DescribeRelation",
        "DescribeTableCommand",
        "ExplainCommand",
        "ShowColumns",
        "ShowColumnsCommand",
        "ShowCreateTable",
        "ShowFunctions",
        "ShowTables",
        "ShowTableProperties",
        "ShowViews",
    }
)
_LOGICAL: Final = "org.apache.spark.sql.catalyst.plans.logical"
_WRITING: Final = (f"{_LOGICAL}.Command", f"{_LOGICAL}.ParsedStatement")


def run_query(sql: str, form: Format, settings: Settings) -> None:
    """Run a statement and print its rows on stdout.

    Raises:
        QueryError: not one statement that only reads, or it fails.
    """
    spark = build_session("query", settings)
    refuse_writing(spark, sql)
    warehouse = Warehouse(settings.warehouse)
    warehouse.create_tables()
    register(spark, warehouse)
    try:
        rows = spark.sql(sql)
        _PRINTERS[form](rows, sys.stdout)
    except PySparkException as error:
        raise QueryError(_reason(error)) from None


def refuse_writing(spark: SparkSession, sql: str) -> None:
    """Refuse whatever Spark's own parser does not take for one statement that only reads.

    Raises:
        QueryError: the statement cannot be parsed, or would change something.
    """
    try:
        plan = spark._jsparkSession.sessionState().sqlParser().parsePlan(sql)
    except ParseException as error:
        raise QueryError(_reason(error)) from None
    for node in _nodes(plan):
        name = node.getClass().getSimpleName()
        if name not in READING_COMMANDS and _writes(spark, node):
            raise QueryError(f"query only reads, and {name} does not")


def _nodes(plan: Any) -> Iterator[Any]:
    yield plan
    children = plan.children()
    for i in range(children.size()):
        yield from _nodes(children.apply(i))


def _writes(spark: SparkSession, node: Any) -> bool:
    """Whether a node of a parsed plan is a command, or a statement that becomes one."""
    loader: Any = spark._jvm.java.lang.Class  # type: ignore[union-attr]
    return any(loader.forName(name).isInstance(node) for name in _WRITING)


def _reason(error: PySparkException) -> str:
    """Spark's message without what follows it: the logical plan, the JVM's stack trace."""
    message = str(error).split("\n\nJVM stacktrace", maxsplit=1)[0]
    return message.split(";\n", maxsplit=1)[0].strip()


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
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(rows.columns)
    for row in rows.toLocalIterator():
        writer.writerow(["" if value is None else _plain(value) for value in row])


def _print_table(rows: DataFrame, out: TextIO) -> None:
    table = TextTable(*rows.columns)
    shown = rows.limit(TABLE_ROWS + 1).collect()
    for row in shown[:TABLE_ROWS]:
        table.add_row(*["" if value is None else _plain(value) for value in row])
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


_PRINTERS: Final = {"table": _print_table, "json": _print_json, "csv": _print_csv}
