"""`scorestream sql`: statements in DuckDB over the tables, no JVM."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from scorestream.infra.config.settings import PROJECT_ROOT
from scorestream.infra.delta.duckdb_reader import connect, refresh
from scorestream.infra.delta.warehouse import Warehouse
from scorestream.infra.display import spreadsheet_text
from scorestream.infra.errors import DeltaError, QueryError
from scorestream.infra.sql.duckdb_guard import parse_read_only, restrict_connection
from scorestream.infra.sql.output import Format
from scorestream.sql.shell import Shell
from scorestream.wallets.core.scoring import Scoring
from scorestream.wallets.schema.views import CATALOG
from tools.testkit.analysed import fill
from tools.testkit.statements import (
    HARMLESS_DUCKDB,
    HONEST_DUCKDB,
    HOSTILE_DUCKDB,
    VARIABLE,
    found_in,
)

ANSWER = "SELECT 40 + 2 AS answer;\n"


@pytest.fixture(scope="module")
def filled(scoring: Scoring, tmp_path_factory: pytest.TempPathFactory) -> Warehouse:
    made = Warehouse(str(tmp_path_factory.mktemp("shell")), CATALOG)
    made.create_tables()
    fill(made, scoring)
    return made


def shell(warehouse: Warehouse, *arguments: str, typed: str = "") -> tuple[int, str, str]:
    """Run the command: exit code, stdout, stderr."""
    done = subprocess.run(
        [sys.executable, "-m", "scorestream", "sql", *arguments],
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
        [sys.executable, "-m", "scorestream", "sql"],
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
    code, out, err = shell(Warehouse(str(tmp_path), CATALOG), "SELECT * FROM leaderboard")
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


def confined(warehouse: Warehouse) -> duckdb.DuckDBPyConnection:
    connection = connect(CATALOG)
    restrict_connection(connection, warehouse)
    refresh(connection, warehouse, " ".join(CATALOG.relations))
    return connection


def answer(connection: duckdb.DuckDBPyConnection, sql: str) -> str | None:
    """The rows as text; None where the statement is refused."""
    try:
        return str(
            connection.execute(parse_read_only(connection, sql, CATALOG.relations)).fetchall()
        )
    except (QueryError, duckdb.Error):
        return None


def test_hostile_statements_do_nothing(filled: Warehouse, tmp_path: Path) -> None:
    warehouse = Warehouse(shutil.copytree(filled.root, tmp_path / "warehouse").as_posix(), CATALOG)
    (tmp_path / "warehouse" / "x.csv").write_text("a\nsecret\n", encoding="utf-8")
    before = found_in(tmp_path)
    with confined(warehouse) as connection:
        for statement in HOSTILE_DUCKDB:
            sql = statement.replace("{folder}", warehouse.root)
            shown = answer(connection, sql)
            assert (shown is not None) == (statement in HARMLESS_DUCKDB), sql
            assert os.environ[VARIABLE] not in (shown or ""), sql
        assert connection.execute("SELECT count(*) > 0 FROM scores").fetchall() == [(True,)]
    assert found_in(tmp_path) == before


def test_honest_statements_are_answered(filled: Warehouse) -> None:
    with confined(filled) as connection:
        assert [sql for sql in HONEST_DUCKDB if answer(connection, sql) is None] == []


@pytest.mark.parametrize(
    "sql",
    [
        "FROM read_text('{root}/x.csv')",
        "FROM '{root}/x.csv'",
        "COPY scores TO '{root}/out.csv'",
        "COPY scores TO '{root}/scores/../out.csv'",
        "FROM read_text('{root}/scores/../x.csv')",
        "ATTACH '{root}/x.db'",
        "SET enable_external_access = true",
        "RESET lock_configuration",
        "INSTALL httpfs",
    ],
)
def test_the_connection_itself_is_confined(tmp_path: Path, sql: str) -> None:
    (tmp_path / "x.csv").write_text("a\nb\n", encoding="utf-8")
    with connect(CATALOG) as connection:
        restrict_connection(connection, Warehouse(str(tmp_path), CATALOG))
        with pytest.raises(duckdb.Error, match=r"disabled|locked|cannot"):
            connection.execute(sql.replace("{root}", str(tmp_path)))


@pytest.mark.parametrize("spelling", ["{}", "{}/../{name}", "{}-link", "file://{}"])
def test_a_warehouse_is_read_whatever_its_folder_is_called(
    filled: Warehouse, tmp_path: Path, spelling: str
) -> None:
    root = tmp_path / "it's 100% mine, größer"
    shutil.copytree(filled.root, root)
    Path(f"{root}-link").symlink_to(root)
    given = spelling.replace("{}", str(root)).replace("{name}", root.name)
    with confined(Warehouse(given, CATALOG)) as connection:
        assert answer(connection, "SELECT count(*) > 0 FROM leaderboard") == "[(True,)]"


def test_what_does_not_fit_into_memory_is_written_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with connect(CATALOG) as connection:
        connection.execute("SET memory_limit = '60MB'")
        restrict_connection(connection, Warehouse(str(tmp_path), CATALOG))
        rows = "SELECT hash(i) AS b, i FROM range(6_000_000) t(i) ORDER BY b"
        connection.execute(f"CREATE TABLE big AS {rows}")
        assert list(tmp_path.iterdir()) == []


HOSTILE_VALUES = ["[/x]", "\x1b[2J", "a\nb", "\u202eevil", "=1+1", "-5", "\u009bm", "it's"]


def printed(warehouse: Warehouse, form: Format, capsys: pytest.CaptureFixture[str]) -> str:
    values = ", ".join("('" + value.replace("'", "''") + "')" for value in HOSTILE_VALUES)
    Shell(warehouse, form).run(f'FROM (VALUES {values}) AS t("=x")')
    return capsys.readouterr().out


def test_values_are_shown_as_they_are(
    filled: Warehouse, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = printed(filled, "table", capsys)
    assert all(line.isprintable() for line in shown.splitlines())
    assert [value for value in HOSTILE_VALUES if value.isprintable() and value not in shown] == []
    lines = printed(filled, "json", capsys).splitlines()
    assert [json.loads(line)["=x"] for line in lines] == HOSTILE_VALUES
    rows = csv.reader(io.StringIO(printed(filled, "csv", capsys), newline=""))
    assert [value for (value,) in rows] == ["=x", *HOSTILE_VALUES]
    rows = csv.reader(io.StringIO(printed(filled, "sheet", capsys), newline=""))
    assert [value for (value,) in rows] == ["'=x", *map(spreadsheet_text, HOSTILE_VALUES)]


@pytest.mark.parametrize("form", ["table", "json", "csv"])
def test_errors_of_statements_are_ours(filled: Warehouse, form: str) -> None:
    shown = Shell(filled, "csv" if form == "csv" else "json" if form == "json" else "table")
    with pytest.raises(QueryError, match="nope"):
        shown.run("SELECT nope FROM scores")
    with pytest.raises(DeltaError, match="table tokens"):
        Shell(Warehouse("/nowhere", CATALOG), "table").run("SELECT * FROM tokens")
