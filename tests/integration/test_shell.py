"""`make sql`: statements in DuckDB over the tables, no JVM."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from analysed import fill
from scorestream.core.dex_v1 import DexV1
from scorestream.errors import DeltaError, QueryError
from scorestream.io.delta.duck import connect
from scorestream.io.delta.warehouse import Warehouse
from scorestream.settings import PROJECT_ROOT
from scorestream.sql.shell import Shell, reading_statement

ANSWER = "SELECT 40 + 2 AS answer;\n"


@pytest.fixture(scope="module")
def filled(model: DexV1, tmp_path_factory: pytest.TempPathFactory) -> Warehouse:
    made = Warehouse(str(tmp_path_factory.mktemp("shell")))
    made.create_tables()
    fill(made, model)
    return made


def shell(warehouse: Warehouse, *arguments: str, typed: str = "") -> tuple[int, str, str]:
    """Run the command: exit code, stdout, stderr."""
    done = subprocess.run(
        [sys.executable, "-m", "scorestream.sql.shell", *arguments],
        env=os.environ | environment(warehouse),
        input=typed,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def environment(warehouse: Warehouse) -> dict[str, str]:
    return {"SCORESTREAM_WAREHOUSE": warehouse.root, "PYTHONPATH": str(PROJECT_ROOT / "lib")}


def test_a_statement_is_printed_and_nothing_else(filled: Warehouse) -> None:
    sql = """SELECT rank, CAST(zscore AS DECIMAL(38, 18)) AS zscore, tags, NULL AS nothing
      FROM leaderboard ORDER BY rank LIMIT 2;"""
    code, out, err = shell(filled, sql, "--format", "json")
    assert (code, err) == (0, "")
    rows = [json.loads(line, parse_float=str) for line in out.splitlines()]
    assert [row["rank"] for row in rows] == [1, 2]
    assert rows[0]["zscore"] == "835.988765112570035853"
    assert rows[0]["nothing"] is None


def test_statements_come_from_stdin_too(filled: Warehouse) -> None:
    typed = "SELECT 1 AS a;\nSELECT\n 'x,y' AS b, NULL AS c;\nSELECT 3 AS d"
    code, out, err = shell(filled, "--format", "csv", typed=typed)
    assert (code, err) == (0, "")
    assert list(csv.reader(io.StringIO(out))) == [
        ["a"],
        ["1"],
        ["b", "c"],
        ["x,y", ""],
        ["d"],
        ["3"],
    ]


def test_in_a_terminal_it_goes_on_after_an_error(filled: Warehouse, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "scorestream.sql.shell"],
        env=os.environ | environment(filled) | {"HOME": str(tmp_path), "TERM": "dumb"},
        stdin=theirs,
        stdout=theirs,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        os.close(theirs)
        shown = [_typed(ours, text) for text in ("", "SELECT nope\nFROM scores;\n", ANSWER)]
        os.write(ours, b"\x04")
        _, err = process.communicate(timeout=60)
    os.close(ours)
    assert process.returncode == 0
    assert "wallet_transactions" in shown[0]
    assert 'column "nope" not found' in err
    assert "42" in shown[2]
    history = (tmp_path / ".scorestream_sql_history").read_text(encoding="utf-8")
    assert history.splitlines()[-1] == ANSWER.strip()


def _typed(terminal: int, text: str) -> str:
    """Type a text; what is shown until the next statement is asked for."""
    os.write(terminal, text.encode())
    shown = ""
    while not shown.endswith("sql> "):
        shown += os.read(terminal, 4096).decode()
    return shown


def test_a_missing_table_is_one_clear_error(tmp_path: Path) -> None:
    code, out, err = shell(Warehouse(str(tmp_path)), "SELECT * FROM leaderboard")
    assert (code, out) == (1, "")
    assert err.startswith(f"DeltaError: table scores at {tmp_path}/scores cannot be read: ")
    assert err.count("\n") == 1


def test_tables_and_plans_are_shown(filled: Warehouse, capsys: pytest.CaptureFixture[str]) -> None:
    shown = Shell(filled, "table")
    for sql in ("SHOW TABLES", "DESCRIBE leaderboard", "EXPLAIN SELECT * FROM scores"):
        shown.run(sql)
    out = capsys.readouterr().out
    for text in ("reject_summary", "swap_score", "Read Parquet"):
        assert text in out


@pytest.mark.parametrize(
    "sql",
    [
        "DROP VIEW scores",
        "CREATE TABLE x AS SELECT 1",
        "INSERT INTO empty.scores SELECT * FROM scores",
        "COPY scores TO 'x.csv'",
        "EXPLAIN ANALYZE COPY scores TO 'x.csv'",
        "explain (analyze, format json) CREATE TABLE x AS SELECT 1",
        "ATTACH 'x.db'",
        "SET threads = 1",
        "PRAGMA database_list",
        "INSTALL httpfs",
        "SELECT 1; DROP VIEW scores",
        "SELEC 1",
        "",
    ],
)
def test_what_does_not_only_read_is_refused(sql: str) -> None:
    with connect() as connection, pytest.raises(QueryError):
        reading_statement(connection, sql)


@pytest.mark.parametrize("form", ["table", "json", "csv"])
def test_errors_of_statements_are_ours(filled: Warehouse, form: str) -> None:
    shown = Shell(filled, "csv" if form == "csv" else "json" if form == "json" else "table")
    with pytest.raises(QueryError, match="nope"):
        shown.run("SELECT nope FROM scores")
    with pytest.raises(DeltaError, match="table tokens"):
        Shell(Warehouse("/nowhere"), "table").run("SELECT * FROM tokens")
