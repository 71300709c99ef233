"""docs/sql.md: what it shows is so, in Spark and in DuckDB, over golden wallets and samples."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import re
from datetime import UTC
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import pytest
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from scorestream.infra.config.settings import PROJECT_ROOT
from scorestream.infra.delta.duckdb_reader import connect, refresh
from scorestream.infra.delta.warehouse import Warehouse
from scorestream.infra.display import spreadsheet_text, visible
from scorestream.infra.errors import QueryError
from scorestream.infra.spark.compat import jvm, session_state
from scorestream.infra.sql.output import Format
from scorestream.infra.sql.spark_functions import FUNCTIONS, TABLE_FUNCTIONS
from scorestream.infra.sql.spark_guard import NODES, ReadOnlySession
from scorestream.sql.query import print_rows
from scorestream.wallets.core import schemas
from scorestream.wallets.schema.tables import TABLES
from scorestream.wallets.schema.views import CATALOG, VIEWS
from tools.testkit.analysed import Rows, by_duckdb, by_spark
from tools.testkit.installation import Installation
from tools.testkit.statements import (
    HARMLESS_SPARK,
    HONEST_SPARK,
    HOSTILE_SPARK,
    PASSWORD,
    PROPERTY,
    VARIABLE,
    found_in,
)

pytestmark = pytest.mark.spark

PAGE = (PROJECT_ROOT / "docs" / "sql.md").read_text(encoding="utf-8")
WALLET = "0x00000000000000000000000000000001d8078bf2"
SHOWN_TIME = "2026-01-02 03:04:05"
REFERENCE = {"replays", "tokens", "protocol_thresholds", "latest_thresholds"}


class Question(NamedTuple):
    """A statement of the page, and the columns that the page shows of its answer."""

    sql: str
    columns: list[str]


def questions() -> dict[str, Question]:
    """By heading."""
    pattern = r"^### ([^\n]*)\n(?:(?!^###).)*?```sql\n(.*?)```\n\n\| (.*?) \|\n"
    found = re.findall(pattern, PAGE, re.DOTALL | re.MULTILINE)
    return {heading: Question(sql, columns.split(" | ")) for heading, sql, columns in found}


def spark_only() -> list[str]:
    return re.findall(r"```sql only-spark\n(.*?)```", PAGE, re.DOTALL)


def alike(one: Any, other: Any) -> bool:
    """Equality; sums of floats may differ in their last digits, as they are added in any order."""
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-9)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(alike(one[k], other[k]) for k in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(alike, one, other))
    return bool(one == other)


def _in_order(rows: Rows) -> Rows:
    return sorted(rows, key=lambda row: [str(v) for v in row.values() if not isinstance(v, float)])


def test_every_statement_of_the_page_is_tested() -> None:
    assert len(questions()) + len(spark_only()) == PAGE.count("```sql")
    assert len(questions()) >= 10


@pytest.mark.parametrize("heading", questions())
def test_a_question_has_the_same_answer_in_both(
    analysed: Warehouse, spark: SparkSession, heading: str
) -> None:
    question = questions()[heading]
    rows = by_spark(spark, question.sql)
    assert rows
    assert list(rows[0]) == question.columns
    assert alike(by_duckdb(analysed, question.sql), rows)
    for column in question.columns:
        assert any(row[column] is not None for row in rows), column


@pytest.mark.parametrize("name", [item.name for item in (*TABLES, *VIEWS)])
def test_spark_and_duckdb_read_the_same(
    analysed: Warehouse, spark: SparkSession, name: str
) -> None:
    sql = f"SELECT * FROM {name}"
    expected, rows = by_spark(spark, sql), by_duckdb(analysed, sql)
    assert [list(row) for row in rows[:1]] == [list(row) for row in expected[:1]]
    assert alike(_in_order(rows), _in_order(expected))
    if name not in REFERENCE:
        assert rows


@pytest.mark.parametrize("name", ["wallet_transactions", "latest_scores", "score_history"])
def test_a_filter_by_wallet_is_applied_before_rows_are_compared(
    analysed: Warehouse, spark: SparkSession, name: str
) -> None:
    sql = f"SELECT * FROM {name} WHERE wallet_key = '{WALLET}'"
    plan = spark.sql(f"EXPLAIN FORMATTED {sql}").collect()[0].plan
    assert re.search(rf"PushedFilters: \[.*EqualTo\(wallet_key,{WALLET}\)", plan)
    [explained] = by_duckdb(analysed, f"EXPLAIN {sql}")
    plan = explained["explain_value"]
    assert plan.index("Window") < plan.index(f"wallet_key = '{WALLET}'")
    assert "Read Parquet" in plan[: plan.index(f"wallet_key = '{WALLET}'")]


def test_types_are_those_of_the_tables(analysed: Warehouse) -> None:
    with connect(CATALOG) as connection:
        empty = connection.sql("SELECT * FROM scores").types
        refresh(connection, analysed, "scores")
        assert connection.sql("SELECT * FROM scores").types == empty
        assert connection.sql("SELECT zscore FROM scores").types == [
            duckdb.decimal_type(schemas.ZSCORE.precision, schemas.ZSCORE.scale)
        ]


def test_time_travel(analysed: Warehouse, spark: SparkSession, tmp_path: Path) -> None:
    between, at_a_time = spark_only()
    assert len(by_spark(spark, between)) == 20
    # Spark's time of a version is that of its file, which need not be the one in the file.
    history = by_spark(spark, "DESCRIBE HISTORY scores")
    [time] = [entry["timestamp"] for entry in history if entry["version"] == 1]
    then = time.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
    sql = at_a_time.replace(SHOWN_TIME, then)
    assert sql != at_a_time
    job = Installation(tmp_path, "127.0.0.1:1")
    by_version = f"SELECT ({sql}) AS a, (SELECT count(*) FROM scores VERSION AS OF 1) AS b"
    code, out, err = job.run(
        "query", by_version, "--format", "json", SCORESTREAM_WAREHOUSE=analysed.root
    )
    assert code == 0, err[-4000:]
    now = spark.table("scores").count()
    assert json.loads(out) == {"a": now - 20, "b": now - 20}


def test_a_jvm_that_the_archive_of_classes_does_not_fit_tells_nothing_among_the_rows(
    analysed: Warehouse, tmp_path: Path
) -> None:
    another_class_path = f"--driver-class-path {PROJECT_ROOT / 'conf'}"
    code, out, err = Installation(tmp_path, "127.0.0.1:1").run(
        "query",
        "SELECT 1 AS x",
        "--format",
        "json",
        SCORESTREAM_WAREHOUSE=analysed.root,
        SPARK_SUBMIT_ARGS=another_class_path,
    )
    assert code == 0, err[-4000:]
    assert out == '{"x":1}\n'


def answer(reading: ReadOnlySession, sql: str) -> str | None:
    """The rows as text; None where the statement is refused, or fails."""
    try:
        return str(reading.read(sql).limit(100).collect())
    except (QueryError, PySparkException) as error:
        assert_nothing_is_shown(sql, str(error))
        return None


def assert_nothing_is_shown(sql: str, text: str) -> None:
    for secret in (PASSWORD, os.environ[VARIABLE], "root:"):
        assert secret not in text, sql


def test_hostile_statements_do_nothing(analysed: Warehouse, spark: SparkSession) -> None:
    jvm(spark).java.lang.System.setProperty(PROPERTY, PASSWORD)
    reading = ReadOnlySession(spark, CATALOG.relations)
    before = found_in(Path(analysed.root))
    answered = set()
    for statement in HOSTILE_SPARK:
        shown = answer(reading, statement.replace("{folder}", analysed.root))
        assert_nothing_is_shown(statement, shown or "")
        answered |= {statement} if shown is not None else set()
    assert answered == HARMLESS_SPARK
    assert found_in(Path(analysed.root)) == before
    assert spark.table("scores").count() > 0


def test_honest_statements_are_answered(analysed: Warehouse, spark: SparkSession) -> None:
    reading = ReadOnlySession(spark, CATALOG.relations)
    statements = [*HONEST_SPARK, *(q.sql for q in questions().values())]
    assert [sql for sql in statements if answer(reading, sql) is None] == []


def test_a_condition_reads_no_table_and_runs_nothing(
    analysed: Warehouse, spark: SparkSession
) -> None:
    reading = ReadOnlySession(spark, ())
    rejects = reading.session.read.format("delta").load(f"{analysed.root}/rejects")
    assert (
        reading.filter_rows(rejects, "error_code = 'x' OR error RLIKE '.'").count()
        == rejects.count()
    )
    for condition in (
        "reflect('java.lang.System', 'exit', 1) IS NULL",
        f"'${{env:{VARIABLE}}}' LIKE '/%' AND nothing",
        "source_offset IN (SELECT source_offset FROM scores)",
        "EXISTS (SELECT * FROM text.`/etc/passwd`)",
        "true) UNION ALL SELECT * FROM rejects WHERE (true",
        "true; DROP TABLE rejects",
        "nobody = 1",
    ):
        with pytest.raises(QueryError) as caught:
            reading.filter_rows(rejects, condition)
        assert_nothing_is_shown(condition, str(caught.value))


def test_nodes_are_those_of_this_spark(spark: SparkSession) -> None:
    loader = jvm(spark).java.lang.Thread.currentThread().getContextClassLoader()

    def is_there(name: str) -> bool:
        return loader.getResource(f"{name.replace('.', '/')}.class") is not None

    assert [name for name in NODES if not (is_there(name) or is_there(f"{name}$"))] == []


def test_functions_are_those_of_this_spark(spark: SparkSession) -> None:
    state = session_state(spark.newSession())
    for registry, named in (
        (state.functionRegistry(), FUNCTIONS),
        (state.tableFunctionRegistry(), TABLE_FUNCTIONS),
    ):
        known = registry.listFunction().mkString(" ").replace("system.builtin.", "")
        assert named <= set(known.replace("`", "").split())


def test_a_session_for_reading_leaves_others_as_they_are(spark: SparkSession) -> None:
    ReadOnlySession(spark, CATALOG.relations)
    assert spark.sql("SELECT reflect('java.lang.Math', 'abs', -1)").collect()[0][0] == "1"


HOSTILE_VALUES = [
    "[weth/usdc] 0.3%",
    "[/x]",
    "\x1b[2J",
    "a\nb",
    "\u202eevil",
    "=1+1",
    "-5",
    "\u009bm",
]


def printed(spark: SparkSession, form: Format) -> str:
    rows = spark.createDataFrame([(value,) for value in HOSTILE_VALUES], "`[red]x` string")
    out = io.StringIO()
    print_rows(rows, form, out)
    return out.getvalue()


def test_a_table_shows_values_as_they_are(spark: SparkSession) -> None:
    shown = [line.strip("│ ") for line in printed(spark, "table").splitlines() if "│" in line]
    assert shown == [visible(value) for value in HOSTILE_VALUES]
    assert "[red]x" in printed(spark, "table")


def test_what_programs_read_is_exact(spark: SparkSession) -> None:
    lines = printed(spark, "json").splitlines()
    assert [json.loads(line)["[red]x"] for line in lines] == HOSTILE_VALUES
    rows = csv.reader(io.StringIO(printed(spark, "csv"), newline=""))
    assert [value for (value,) in rows] == ["[red]x", *HOSTILE_VALUES]
    rows = csv.reader(io.StringIO(printed(spark, "sheet"), newline=""))
    assert [value for (value,) in rows] == ["[red]x", *map(spreadsheet_text, HOSTILE_VALUES)]


def test_a_plan_keeps_its_lines(analysed: Warehouse, spark: SparkSession) -> None:
    out = io.StringIO()
    print_rows(
        ReadOnlySession(spark, CATALOG.relations).read("EXPLAIN SELECT '\x1b[2J'"), "table", out
    )
    assert "== Physical Plan ==\\n" not in out.getvalue()
    assert "\x1b" not in out.getvalue()
