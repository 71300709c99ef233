"""Each rule gives the same in Arrow, in SQL as DuckDB reads it, and in plain Python."""

from __future__ import annotations

import string
from collections.abc import Iterator, Sequence
from typing import Any

import duckdb
import pyarrow as pa
import pytest
import sqlglot
from hypothesis import given, settings
from hypothesis import strategies as st

from scorestream.infra.delta.duckdb_reader import connect, show
from scorestream.wallets.core import rules, schemas
from scorestream.wallets.core.actions import is_action
from scorestream.wallets.core.exact_parser import parse_exact
from scorestream.wallets.core.history import wallet_history
from scorestream.wallets.core.legs import flat_column, nested_legs
from scorestream.wallets.core.messages import parse_fast
from scorestream.wallets.core.wallet_keys import stored_wallet_keys, wallet_key, wallet_keys
from scorestream.wallets.execution.history_lookup import wallet_rows
from scorestream.wallets.schema import sql_rules
from scorestream.wallets.schema.tables import TRANSACTIONS
from scorestream.wallets.schema.views import CATALOG
from tools.testkit.accounts import Tables, wallet_transactions
from tools.testkit.random_tables import as_arrow, random_tables
from tools.testkit.random_transactions import addresses, as_flat_rows, as_message, transactions

Transactions = list[dict[str, Any]]
drawn_transactions = st.lists(transactions, min_size=1, max_size=8)


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with connect(CATALOG) as made:
        made.execute("SET threads = 1")
        yield made


def selected(
    connection: duckdb.DuckDBPyConnection, rows: pa.Table, expressions: Sequence[str]
) -> list[list[Any]]:
    """Columns of Spark's SQL over rows, as DuckDB computes them."""
    connection.register("drawn", rows)
    sql = f"SELECT {', '.join(expressions)} FROM drawn"
    [translated] = sqlglot.transpile(sql, read="spark", write="duckdb")
    columns = connection.sql(translated).to_arrow_table().columns
    return [column.to_pylist() for column in columns]


@settings(deadline=None)
@given(drawn=st.lists(st.none() | addresses, min_size=1, max_size=20))
def test_the_wallet_of_an_address(
    connection: duckdb.DuckDBPyConnection, drawn: list[str | None]
) -> None:
    def plainly(address: str | None) -> str | None:
        if address is None or address[:2] not in {"0x", "0X"}:
            return address
        return address.lower() if set(address[2:]) <= set(string.hexdigits) else address

    keys = [plainly(address) for address in drawn]
    column = pa.array(drawn, pa.string())
    assert [a if a is None else wallet_key(a) for a in drawn] == keys
    assert wallet_keys(column).to_pylist() == keys
    rows = pa.table({"wallet_address": column})
    assert stored_wallet_keys(rows).to_pylist() == keys
    assert selected(connection, rows, [sql_rules.WALLET_KEY]) == [keys]
    # A key that is stored counts.
    rows = rows.append_column("wallet_key", pa.array(["k", *[None] * (len(drawn) - 1)]))
    assert stored_wallet_keys(rows).to_pylist() == ["k", *keys[1:]]
    assert selected(connection, rows, [sql_rules.STORED_WALLET_KEY]) == [["k", *keys[1:]]]


def used_leg(transaction: dict[str, Any], number: int) -> tuple[str, dict[str, Any]] | None:
    """Column and fields of a leg that the action uses, from a message's transaction."""
    columns = {
        "swap": ("token_in", "token_out"),
        "deposit": ("token0", "token1"),
        "withdraw": ("token0", "token1"),
    }
    if transaction["action"] not in columns:
        return None
    column = columns[transaction["action"]][number]
    fields = {"token_in": "tokenIn", "token_out": "tokenOut"}
    return column, transaction.get(fields.get(column, column)) or {}


@settings(deadline=None)
@given(drawn=drawn_transactions)
def test_legs_nested_and_flat(connection: duckdb.DuckDBPyConnection, drawn: Transactions) -> None:
    flat = as_flat_rows(drawn)
    nested = pa.table(nested_legs(flat))
    for i, transaction in enumerate(drawn):
        for number in range(2):
            column, leg = used_leg(transaction, number) or (None, {})
            given_ = {
                "amount": str(leg["amount"]) if "amount" in leg else None,
                "amount_usd": leg.get("amountUSD", 0.0),
                "address": leg.get("address"),
                "symbol": leg.get("symbol", ""),
            }
            for name in rules.FLAT_LEGS[f"leg{number}"]:
                assert nested[name][i].as_py() == (given_ if name == column else None)
            for part in rules.LEG_PARTS:
                assert flat[f"leg{number}_{part.flat}"][i].as_py() == given_[part.nested]
    names = list(rules.FLAT_COLUMNS)
    expected = [flat[name].to_pylist() for name in names]
    assert [flat_column(nested, name).to_pylist() for name in names] == expected
    found = selected(connection, nested, [sql_rules.FLAT_COLUMNS[name] for name in names])
    assert found == expected


@settings(deadline=None)
@given(drawn=drawn_transactions)
def test_both_parsers_and_the_decoder_read_the_same_legs(drawn: Transactions) -> None:
    """The decoder has the legs of actions written out."""
    flat = as_flat_rows(drawn)
    for transaction, row in zip(drawn, flat.to_pylist(), strict=True):
        message = as_message([transaction])
        for parse in (parse_fast, parse_exact):
            parsed = parse(message)
            assert parsed is not None
            [read] = parsed.data[0].transactions
            legs = [used_leg(transaction, n) for n in range(2)]
            fields = [rules.LEG_FIELDS[leg[0]] for leg in legs if leg]
            usd = [getattr(read, field) and getattr(read, field).amountUSD for field in fields]
            assert [each or 0.0 for each in usd] == [
                row[f"leg{n}_usd"] for n in range(2) if legs[n]
            ]


@settings(deadline=None)
@given(drawn=drawn_transactions)
def test_usd_value_of_an_action(drawn: Transactions) -> None:
    def plainly(transaction: dict[str, Any]) -> float | None:
        legs = [used_leg(transaction, number) for number in range(2)]
        usd: list[float] = [leg[1].get("amountUSD", 0.0) for leg in legs if leg is not None]
        if not usd:
            return None
        return max(usd) if transaction["action"] == "swap" else sum(usd)

    flat = as_flat_rows(drawn)
    assert flat["usd_value"].to_pylist() == [plainly(each) for each in drawn]
    for action in rules.ACTIONS:
        flags = is_action(flat, action.name).tolist()
        assert flags == [each["action"] == action.name for each in drawn]


@settings(max_examples=40, deadline=None)
@given(tables=random_tables(0, 8))
def test_the_row_in_effect(connection: duckdb.DuckDBPyConnection, tables: Tables) -> None:
    stored = as_arrow(tables)[TRANSACTIONS.name]
    connection.register("drawn_transactions", stored)
    show(connection, TRANSACTIONS, "drawn_transactions")
    view = connection.sql("FROM wallet_transactions").to_arrow_table()
    account = wallet_transactions({TRANSACTIONS.name: stored.to_pylist()})
    plainly = pa.Table.from_pylist(account, schema=view.schema)
    history = wallet_history(wallet_rows(stored))
    last = {document: row for row, document in enumerate(history.document.tolist())}
    in_effect = history.rows.take(pa.array(list(last.values()), pa.int64()))
    assert compared(wallet_rows(view)) == compared(in_effect)
    assert compared(wallet_rows(plainly)) == compared(in_effect)


def compared(rows: pa.Table) -> list[str]:
    """Rows of `WALLET_ROWS` in one order; their address may be any of those of their wallet."""
    names = [name for name in schemas.WALLET_ROWS.names if name != "wallet_address"]
    return sorted(map(repr, rows.select(names).to_pylist()))


def test_rows_that_differ_in_any_column_are_put_in_order() -> None:
    nested = {leg for column in rules.FLAT_COLUMNS.values() for leg in column.legs}
    plain = {f.name for f in schemas.TRANSACTION if f.name not in nested} - {"document_id"}
    source = {name for name, _ in schemas.SOURCE}
    ordered = {*source, *plain, *rules.FLAT_COLUMNS, "ingested_at"}
    assert set(rules.ROW_ORDER) == ordered
    assert len(rules.ROW_ORDER) == len(ordered)
    assert set(rules.LEG_FIELDS) == nested
    assert tuple(part.nested for part in rules.LEG_PARTS) == tuple(f.name for f in schemas.LEG)
