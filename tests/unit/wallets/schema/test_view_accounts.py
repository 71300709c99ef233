"""Every view holds what a plain account of it says, over random tables, in DuckDB."""

from __future__ import annotations

from collections.abc import Iterator

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings

from scorestream.infra.delta.duckdb_reader import connect, show
from scorestream.wallets.schema.views import CATALOG, VIEWS
from tools.testkit.accounts import (
    ACCOUNTS,
    Rows,
    Tables,
    sort_rows,
)
from tools.testkit.random_tables import DRAWN, as_arrow, random_tables


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with connect(CATALOG) as made:
        made.execute("SET threads = 1")  # the tables are too small for more
        yield made


def by_view(connection: duckdb.DuckDBPyConnection, stored: dict[str, pa.Table]) -> dict[str, Rows]:
    for table in DRAWN:
        connection.register(f"drawn_{table.name}", stored[table.name])
        show(connection, table, f"drawn_{table.name}")
    return {
        view.name: connection.sql(f"FROM {view.name}").to_arrow_table().to_pylist()
        for view in VIEWS
    }


def test_every_view_has_an_account() -> None:
    assert set(ACCOUNTS) == {view.name for view in VIEWS}


@settings(max_examples=40, deadline=None)
@given(tables=random_tables(0, 8))
def test_views_hold_what_their_accounts_say(
    connection: duckdb.DuckDBPyConnection, tables: Tables
) -> None:
    stored = as_arrow(tables)
    told = {name: rows.to_pylist() for name, rows in stored.items()}
    seen = by_view(connection, stored)
    for name, rows in seen.items():
        assert sort_rows(rows) == sort_rows(ACCOUNTS[name](told)), name
    for counted in ("scores", "rejects"):
        assert sum(day[counted] for day in seen["daily_summary"]) == len(tables[counted])
