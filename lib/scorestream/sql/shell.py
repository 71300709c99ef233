"""`scorestream sql`: SQL over all tables and views in DuckDB; one statement, or a shell."""

from __future__ import annotations

import contextlib
import csv
import io
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, TextIO

import duckdb

from scorestream.infra.config.settings import Settings
from scorestream.infra.delta.duckdb_reader import connect, refresh
from scorestream.infra.delta.warehouse import Warehouse
from scorestream.infra.display import spreadsheet_text, visible_lines
from scorestream.infra.errors import QueryError, ScorestreamError
from scorestream.infra.sql.duckdb_guard import parse_read_only, restrict_connection
from scorestream.infra.sql.output import TABLE_ROWS, Format
from scorestream.wallets.schema.tables import TABLES
from scorestream.wallets.schema.views import CATALOG, VIEWS

WIDTH: Final = 240
FETCHED_ROWS: Final = 10_000
HISTORY: Final = Path("~/.scorestream_sql_history")
HISTORY_LINES: Final = 1000
_AS_TEXT: Final = {
    "json": "SELECT to_json(result_row) FROM (\n{}\n) AS result_row",
    "csv": "SELECT CAST(COLUMNS(*) AS VARCHAR) FROM (\n{}\n)",
    "sheet": "SELECT CAST(COLUMNS(*) AS VARCHAR) FROM (\n{}\n)",
}


class Shell:
    """Runs statements over the newest versions of a warehouse's tables."""

    def __init__(self, warehouse: Warehouse, form: Format) -> None:
        self._warehouse = warehouse
        self._form = form
        self._connection = connect(warehouse.catalog)
        restrict_connection(self._connection, warehouse)

    def run(self, sql: str) -> None:
        """Run a statement and print its rows on stdout.

        Raises:
            QueryError: not one statement that only reads our tables and views, or it fails.
            DeltaError: a table cannot be read.
        """
        statement = parse_read_only(self._connection, sql, self._warehouse.catalog.relations)
        refresh(self._connection, self._warehouse, statement.query)
        try:
            self._print(statement)
        except duckdb.Error as error:
            raise QueryError(str(error)) from None

    def _print(self, statement: duckdb.Statement) -> None:
        if statement.type == duckdb.StatementType.EXPLAIN:
            for row in self._connection.execute(statement).fetchall():
                print(visible_lines(row[-1]))
            return
        if self._form == "table":
            width = shutil.get_terminal_size().columns if sys.stdout.isatty() else WIDTH
            shown = io.StringIO()
            with contextlib.redirect_stdout(shown):
                self._connection.sql(statement.query).show(max_rows=TABLE_ROWS, max_width=width)
            print(visible_lines(shown.getvalue()), end="")
            return
        text = _AS_TEXT[self._form].format(statement.query.strip().rstrip(";"))
        rows = self._connection.execute(text)
        _PRINTERS[self._form](rows, sys.stdout)


def _print_json(rows: duckdb.DuckDBPyConnection, out: TextIO) -> None:
    out.writelines(f"{line}\n" for (line,) in _stream(rows))


def _print_csv(rows: duckdb.DuckDBPyConnection, out: TextIO) -> None:
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(name for name, *_ in rows.description)
    writer.writerows(_stream(rows))


def _print_sheet(rows: duckdb.DuckDBPyConnection, out: TextIO) -> None:
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(spreadsheet_text(name) for name, *_ in rows.description)
    for row in _stream(rows):
        writer.writerow(None if value is None else spreadsheet_text(value) for value in row)


def _stream(rows: duckdb.DuckDBPyConnection) -> Iterator[tuple[Any, ...]]:
    while some := rows.fetchmany(FETCHED_ROWS):
        yield from some


_PRINTERS: Final = {"json": _print_json, "csv": _print_csv, "sheet": _print_sheet}


def run_shell(sql: str | None, form: Format, settings: Settings) -> None:
    """Run one statement, or those of stdin: a shell if that is a terminal.

    Raises:
        ScorestreamError: a statement fails; in a terminal it is printed instead.
    """
    shell = Shell(Warehouse(settings.warehouse, CATALOG), form)
    if sql is not None:
        shell.run(sql)
    elif sys.stdin.isatty():
        _interact(shell)
    else:
        for statement in _statements():
            shell.run(statement)


def _interact(shell: Shell) -> None:
    names = " ".join(item.name for item in (*TABLES, *VIEWS))
    print(f"{names}\nDESCRIBE TABLE shows columns; a statement ends with ;, the shell with Ctrl-D")
    with _history():
        for statement in _statements():
            try:
                shell.run(statement)
            except ScorestreamError as error:
                print(visible_lines(str(error)), file=sys.stderr)
            except KeyboardInterrupt:
                print("interrupted", file=sys.stderr)


def _statements() -> Iterator[str]:
    """Statements as they are typed; an interrupt drops the one begun."""
    lines: list[str] = []
    while True:
        try:
            lines.append(_line(first=not lines))
        except KeyboardInterrupt:
            lines = []
            print()
        except EOFError:
            break
        if lines and lines[-1].rstrip().endswith(";"):
            yield "\n".join(lines)
            lines = []
    if any(line.strip() for line in lines):
        yield "\n".join(lines)


def _line(*, first: bool) -> str:
    prompt = "sql> " if first else "...> "
    return input(prompt if sys.stdin.isatty() else "")


@contextlib.contextmanager
def _history() -> Iterator[None]:
    """Lines can be edited, and called back in the next shell."""
    # Importing it is enough for `input`.
    import readline  # noqa: PLC0415

    path = HISTORY.expanduser()
    with contextlib.suppress(OSError):
        readline.read_history_file(path)
    readline.set_history_length(HISTORY_LINES)
    yield
    with contextlib.suppress(OSError):
        readline.write_history_file(path)
