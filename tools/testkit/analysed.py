"""What an analyst finds: wallets scored once, some again with more and corrected transactions."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession

from scorestream.infra.delivery.coverage import Coverage, Span
from scorestream.infra.delivery.coverage_table import CoverageTable
from scorestream.infra.delivery.stream import Stream
from scorestream.infra.delta.duckdb_reader import connect, refresh
from scorestream.infra.delta.spark_reader import register
from scorestream.infra.delta.warehouse import Warehouse
from scorestream.infra.kafka.producer import Record
from scorestream.wallets.core.scoring import Scoring
from scorestream.wallets.execution.scoring_task import commit_files, score_records, write_scored
from scorestream.wallets.execution.table_rows import BatchFacts
from scorestream.wallets.schema.tables import BATCH_TABLES, COVERAGE, TABLES
from scorestream.wallets.schema.views import CATALOG, VIEWS
from tools.local.samples import sample_records
from tools.testkit.golden import Golden, golden_records, golden_wallets
from tools.testkit.records import records_of

Rows = list[dict[str, Any]]
DAY_SECONDS = 86_400
AGAIN = 20


@contextmanager
def open_warehouse(spark: SparkSession, folder: Path) -> Iterator[Warehouse]:
    """An empty warehouse, its tables and views known to Spark."""
    opened = Warehouse(str(folder / "warehouse"), CATALOG)
    opened.create_tables()
    register(spark, opened)
    yield opened
    for view in VIEWS:
        spark.sql(f"DROP VIEW {view.name}")
    for table in TABLES:
        spark.sql(f"DROP TABLE {table.name}")


def fill(warehouse: Warehouse, scoring: Scoring) -> None:
    """Version 1 of the tables: all wallets; version 2: some of them four days later."""
    first = [*golden_records(), *sample_records()]
    later = [_later(wallet) for wallet in golden_wallets()[:AGAIN]]
    write(warehouse, scoring, first, 0)
    write(warehouse, scoring, later, len(first))
    delivered = Coverage("topic", "id", spans={0: Span(0, len(first) + len(later))}, run_id="run")
    records = CoverageTable(warehouse, Stream("test", delivered.topic, BATCH_TABLES, COVERAGE))
    records.write(replace(delivered, sequence=1, tables=records.tables(0), settled=True))


def write(
    warehouse: Warehouse, scoring: Scoring, records: Sequence[Record], first_offset: int
) -> None:
    """Score records and commit their rows; `scored_at` grows with the offset."""
    facts = BatchFacts("run", first_offset, 1_767_323_045.0 + first_offset, code_version="1+test")
    batches = score_records(
        [records_of(records, first_offset)], (scoring,), include_transactions=True
    )
    report = write_scored(batches, warehouse.root, facts, include_transactions=True)
    commit_files(warehouse, report.files, None)


def by_spark(spark: SparkSession, sql: str) -> Rows:
    rows: Rows = spark.sql(sql).toArrow().to_pylist()
    return rows


def by_duckdb(warehouse: Warehouse, sql: str) -> Rows:
    with connect(CATALOG) as connection:
        refresh(connection, warehouse, sql)
        rows: Rows = connection.sql(sql).to_arrow_table().to_pylist()
        return rows


def _later(wallet: Golden) -> Record:
    """The wallet four days later: half of its transactions, the first of them in another pool."""
    as_of = wallet.as_of + 4 * DAY_SECONDS
    message = json.loads(wallet.value)
    for entry in message["data"]:
        rows: Rows = entry["transactions"]
        entry["transactions"] = rows[: len(rows) // 2 + 1]
        if rows:
            rows[0]["poolId"] = "0xcorrected"
    return Record(wallet.wallet.encode(), json.dumps(message).encode(), as_of * 1000)
