"""The views over rows made for them, in Spark and in DuckDB."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import Phase, given, settings
from pyspark.sql import SparkSession

from scorestream.infra.delta.data_files import TableWriter
from scorestream.infra.delta.duckdb_reader import connect, refresh
from scorestream.infra.delta.table import Table
from scorestream.infra.delta.warehouse import Warehouse
from scorestream.wallets.core.scoring import Scoring
from scorestream.wallets.execution.scoring_task import score_records
from scorestream.wallets.execution.table_rows import BatchFacts, table_rows
from scorestream.wallets.schema.tables import REJECTS, SCORES, TABLES, TRANSACTIONS
from scorestream.wallets.schema.views import CATALOG, VIEWS
from tools.testkit.accounts import ACCOUNTS, Tables, sort_rows
from tools.testkit.analysed import by_duckdb, by_spark
from tools.testkit.golden import golden_records
from tools.testkit.random_tables import as_arrow, random_tables
from tools.testkit.records import NO_MOMENTS, records_of

pytestmark = pytest.mark.spark


def write(warehouse: Warehouse, table: Table, *rows: dict[str, Any]) -> None:
    warehouse.write(table, pa.Table.from_pylist(list(rows), schema=table.columns))


def test_every_table_view_and_column_has_a_comment(
    warehouse: Warehouse, spark: SparkSession
) -> None:
    lacking = [
        f"{item.name}.{column.col_name}"
        for item in (*TABLES, *VIEWS)
        for column in spark.sql(f"DESCRIBE {item.name}").collect()
        if not column.comment
    ]
    assert lacking == []
    for item in (*TABLES, *VIEWS):
        described = spark.sql(f"DESCRIBE TABLE EXTENDED {item.name}").collect()
        assert [r.data_type for r in described if r.col_name == "Comment"] == [item.comment]


def transaction(offset: int, at: int, **columns: Any) -> dict[str, Any]:
    """A version of document `d` of wallet 0xab, whose message came at a second."""
    return {
        "wallet_address": "0xAB",
        "wallet_key": "0xab",
        "document_id": "d",
        "action": "deposit",
        "timestamp": 1,
        "usd_value": 1.0,
        "source_topic": "in",
        "source_partition": 0,
        "source_offset": offset,
        "source_timestamp": datetime.fromtimestamp(at, UTC),
    } | columns


CASES = {
    "the newest message counts, wherever it lies": (
        [transaction(5, 10, usd_value=1.0), transaction(4, 11, usd_value=2.0)],
        [("d", 4, 2, True)],
    ),
    "of one time, the topic, then the partition, then the offset": (
        [
            transaction(7, 10, source_topic="a", source_partition=9),
            transaction(8, 10, source_partition=1),
            transaction(9, 10, source_partition=1),
        ],
        [("d", 9, 3, False)],
    ),
    "of one message, the greatest content": (
        [transaction(1, 10, timestamp=2, usd_value=1.0), transaction(1, 10, usd_value=9.0)],
        [("d", 1, 2, True)],
    ),
    "rows of before there was a key are of the same wallet": (
        [transaction(1, 10), transaction(2, 11, wallet_key=None), transaction(3, 9)],
        [("d", 2, 3, False)],
    ),
    "the same document of another wallet is another": (
        [transaction(1, 10), transaction(2, 11, wallet_key="x", wallet_address="x")],
        [("d", 1, 1, False), ("d", 2, 1, False)],
    ),
    "a null is a content, too": (
        [transaction(1, 10, protocol=None), transaction(2, 11, protocol="p")],
        [("d", 2, 2, True)],
    ),
    "legs are contents": (
        [
            transaction(1, 10, token0={"amount_usd": 1.0, "symbol": "A"}),
            transaction(2, 11, token0={"amount_usd": 1.0, "symbol": "B"}),
        ],
        [("d", 2, 2, True)],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_wallet_transactions(warehouse: Warehouse, spark: SparkSession, case: str) -> None:
    rows, expected = CASES[case]
    write(warehouse, TRANSACTIONS, *rows)
    sql = """SELECT document_id, source_offset, times_seen, corrected
      FROM wallet_transactions ORDER BY source_offset"""
    assert [tuple(row.values()) for row in by_spark(spark, sql)] == expected
    assert [tuple(row.values()) for row in by_duckdb(warehouse, sql)] == expected
    assert spark.table("transactions").count() == len(rows)


def score(at: int, message: int, scored: int, final_score: float) -> dict[str, Any]:
    """A score of wallet 0xab at a second, its message of a second, scored at a second."""
    moment = [datetime.fromtimestamp(second, UTC) for second in (message, scored)]
    return {
        "wallet_address": "0xAB",
        "wallet_key": "0xab",
        "scoring": "dex-v1",
        "as_of": at,
        "source_timestamp": moment[0],
        "scored_at": moment[1],
        "final_score": final_score,
    }


def test_the_newest_score_goes_by_moment_then_message_then_scoring(
    warehouse: Warehouse, spark: SparkSession
) -> None:
    write(
        warehouse,
        SCORES,
        score(9, 9, 99, 1.0),
        score(10, 10, 20, 4.0),
        score(10, 11, 12, 16.0),
        score(10, 11, 13, 64.0) | {"wallet_key": None},
        score(10, 11, 13, 5.0) | {"scoring": "other"},
    )
    latest = "SELECT scoring, final_score FROM latest_scores ORDER BY scoring"
    changes = "SELECT change FROM score_history WHERE scoring = 'dex-v1' ORDER BY final_score"
    for rows in (by_spark(spark, latest), by_duckdb(warehouse, latest)):
        assert [tuple(row.values()) for row in rows] == [("dex-v1", 64.0), ("other", 5.0)]
    for rows in (by_spark(spark, changes), by_duckdb(warehouse, changes)):
        assert [row["change"] for row in rows] == [None, 3.0, 12.0, 48.0]


def test_columns_younger_than_the_files_are_null(warehouse: Warehouse) -> None:
    columns = TRANSACTIONS.columns.remove(TRANSACTIONS.columns.get_field_index("wallet_key"))
    writer = TableWriter(warehouse.root, replace(TRANSACTIONS, columns=columns))
    writer.write(pa.Table.from_pylist([{"wallet_address": "0xAB"}], schema=columns))
    file = writer.close()
    assert file is not None
    warehouse.append(TRANSACTIONS, [file], None)
    assert by_duckdb(warehouse, "SELECT wallet_key FROM transactions") == [{"wallet_key": None}]
    [row] = by_duckdb(warehouse, "SELECT wallet_key FROM wallet_transactions")
    assert row == {"wallet_key": "0xab"}


def test_each_statement_sees_the_newest_version(warehouse: Warehouse) -> None:
    sql = "SELECT count(*) FROM leaderboard"
    with connect(CATALOG) as connection:
        for count in (0, 1):
            refresh(connection, warehouse, sql)
            assert connection.execute(sql).fetchall() == [(count,)]
            write(warehouse, SCORES, score(1, 1, 1, 1.0))


def test_a_warehouse_given_as_a_uri_is_read_too(warehouse: Warehouse) -> None:
    write(warehouse, SCORES, score(1, 1, 1, 1.0))
    rows = by_duckdb(
        Warehouse(f"file://{warehouse.root}", CATALOG), "SELECT wallet_key FROM leaderboard"
    )
    assert rows == [{"wallet_key": "0xab"}]


# A few, and large: what a view costs in Spark is the query, not its rows.
@settings(max_examples=3, deadline=None, derandomize=True, phases=[Phase.generate])
@given(tables=random_tables(10, 30))
def test_views_hold_what_their_accounts_say_in_spark_too(
    spark: SparkSession, tables: Tables
) -> None:
    session = spark.newSession()
    stored = as_arrow(tables)
    for name, rows in stored.items():
        session.createDataFrame(rows).createOrReplaceTempView(name)
    told = {name: rows.to_pylist() for name, rows in stored.items()}
    for view in VIEWS:
        found = session.sql(view.sql)
        found.createOrReplaceTempView(view.name)
        seen = found.toArrow().to_pylist()
        assert sort_rows(seen) == sort_rows(ACCOUNTS[view.name](told)), view.name


def test_times_that_no_calendar_has_break_no_view(
    warehouse: Warehouse, spark: SparkSession, scoring: Scoring
) -> None:
    """Scores of earlier versions had the moments of whatever a record said; rejects keep theirs."""
    moments = (7, -(2**63) // 1000, 2**63 // 1000)
    write(warehouse, SCORES, *(score(at, 1, 1, 1.0) for at in moments))
    records = records_of([golden_records()[0]._replace(timestamp=at) for at in NO_MOMENTS])
    facts = BatchFacts("run", 0, 1_767_323_045.0, code_version="1")
    [(scored, _)] = score_records([records], (scoring,), include_transactions=True)
    warehouse.write(REJECTS, table_rows(scored, records, facts)[REJECTS])
    for name in (*(view.name for view in VIEWS), REJECTS.name):
        sql = f"SELECT * FROM {name}"
        assert len(by_spark(spark, sql)) == len(by_duckdb(warehouse, sql)), name
    times = "SELECT as_of_time IS NULL AS lacks FROM score_history ORDER BY as_of"
    told = "SELECT min(source_timestamp) AS first, max(source_timestamp) AS last FROM rejects"
    for ask in (partial(by_spark, spark), partial(by_duckdb, warehouse)):
        assert [row["lacks"] for row in ask(times)] == [True, False, True]
        [row] = ask(told)
        assert (row["first"].year, row["last"].year) == (1, 5138)
