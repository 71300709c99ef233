"""Each rule gives the same in Spark as in Arrow; `tests/unit/wallets/core/test_rules.py` compares
Arrow, DuckDB and plain Python.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from scorestream.wallets.core import rules
from scorestream.wallets.core.history import wallet_history
from scorestream.wallets.core.legs import flat_column, nested_legs
from scorestream.wallets.core.wallet_keys import wallet_keys
from scorestream.wallets.execution.history_lookup import wallet_rows
from scorestream.wallets.reference.population import rows_in_effect
from scorestream.wallets.schema import sql_rules
from scorestream.wallets.schema.tables import TRANSACTIONS
from tools.testkit.accounts import Tables
from tools.testkit.random_tables import as_arrow, random_tables
from tools.testkit.random_transactions import addresses, as_flat_rows, transactions

pytestmark = pytest.mark.spark

# Few examples, and large: what costs in Spark is the query, not its rows.
few = settings(max_examples=2, deadline=None, derandomize=True, phases=[Phase.generate])
AFTER_ALL = 10**9


@few
@given(drawn=st.lists(st.none() | addresses, min_size=100, max_size=200))
def test_the_wallet_of_an_address(spark: SparkSession, drawn: list[str | None]) -> None:
    rows = pa.table({"wallet_address": pa.array(drawn, pa.string())})
    found = spark.createDataFrame(rows).select(F.expr(sql_rules.WALLET_KEY).alias("key")).toArrow()
    assert found["key"].to_pylist() == wallet_keys(rows["wallet_address"]).to_pylist()


@few
@given(drawn=st.lists(transactions, min_size=100, max_size=200))
def test_legs_nested_and_flat(spark: SparkSession, drawn: list[dict[str, Any]]) -> None:
    nested = pa.table(nested_legs(as_flat_rows(drawn)))
    columns = [F.expr(sql).alias(name) for name, sql in sql_rules.FLAT_COLUMNS.items()]
    found = spark.createDataFrame(nested).select(*columns).toArrow()
    for name in rules.FLAT_COLUMNS:
        assert found[name].to_pylist() == flat_column(nested, name).to_pylist(), name


@few
@given(tables=random_tables(10, 30))
def test_the_row_in_effect(spark: SparkSession, tables: Tables) -> None:
    stored = as_arrow(tables)[TRANSACTIONS.name]
    found = rows_in_effect(spark.createDataFrame(stored), AFTER_ALL, partitions=2).toArrow()
    history = wallet_history(wallet_rows(stored))
    last = {document: row for row, document in enumerate(history.document.tolist())}
    in_effect = history.rows.take(pa.array(list(last.values()), pa.int64()))
    names = ["wallet_key", "action", "timestamp", "leg0_usd", "leg1_usd"]
    assert in_order(found.select(names)) == in_order(in_effect.select(names))


def in_order(rows: pa.Table) -> list[str]:
    return sorted(map(repr, rows.to_pylist()))
