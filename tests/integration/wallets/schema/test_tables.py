"""The tables: written by the tasks, committed by the driver, read by SQL."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import write_deltalake
from pyspark.sql import SparkSession

from scorestream.infra.delta.warehouse import Warehouse
from scorestream.infra.errors import DeltaError
from scorestream.infra.kafka.producer import Record
from scorestream.wallets.core.scoring import Scoring
from scorestream.wallets.execution.scoring_task import (
    ScoringReport,
    commit_files,
    score_records,
    write_scored,
)
from scorestream.wallets.execution.table_rows import BatchFacts
from scorestream.wallets.schema.tables import SCORES, TABLES, TRANSACTIONS
from scorestream.wallets.schema.views import CATALOG, VIEWS
from tools.testkit.golden import broken_records, golden_records, golden_wallets
from tools.testkit.records import records_of

pytestmark = pytest.mark.spark


def scored(
    warehouse: Warehouse, scoring: Scoring, records: Sequence[Record], first_offset: int = 0
) -> ScoringReport:
    facts = BatchFacts("run", first_offset, 1_767_323_045.0, code_version="1+test")
    batches = score_records(
        [records_of(records, first_offset)], (scoring,), include_transactions=True
    )
    return write_scored(batches, warehouse.root, facts, include_transactions=True)


def commit(warehouse: Warehouse, report: ScoringReport, version: int | None = None) -> None:
    commit_files(warehouse, report.files, None if version is None else ("run", version))


def test_files_are_seen_once_they_are_committed(
    warehouse: Warehouse, scoring: Scoring, spark: SparkSession
) -> None:
    report = scored(warehouse, scoring, golden_records()[:5] + broken_records()[:2])
    assert (report.scores, sum(report.rejects.values())) == (5, 2)
    assert warehouse.is_empty(SCORES)
    for _ in range(2):
        commit(warehouse, report, version=7)
    assert spark.table("scores").count() == 5
    assert spark.table("rejects").count() == 2
    assert spark.table("transactions").count() == report.transactions
    commit(warehouse, scored(warehouse, scoring, golden_records()[:5]), version=8)
    assert spark.table("scores").count() == 10
    assert spark.sql("SELECT count(*) AS n FROM scores VERSION AS OF 1").collect()[0].n == 5


def test_statistics_let_readers_skip_files(warehouse: Warehouse, scoring: Scoring) -> None:
    for first in (0, 100):
        commit(warehouse, scored(warehouse, scoring, golden_records()[:10], first))
    for table in (SCORES, TRANSACTIONS):
        assert len(warehouse.files(table, [[("source_offset", ">=", 0)]])) == 2
        assert len(warehouse.files(table, [[("source_offset", ">=", 50)]])) == 1
        assert warehouse.files(table, [[("batch_id", "=", 7)]]) == []


def test_columns_have_their_comments(warehouse: Warehouse, spark: SparkSession) -> None:
    described = {row.col_name: row.comment for row in spark.sql("DESCRIBE scores").collect()}
    assert described["as_of"].startswith("unix seconds")
    assert described["zscore"] == "final score with exactly 18 decimals"


def test_every_table_and_view_can_be_queried(
    warehouse: Warehouse, scoring: Scoring, spark: SparkSession
) -> None:
    upper = Record(b"k", _simple("0xAB", "borrow"), 5_000)
    lower = Record(b"k", _simple("0xab", "borrow"), 9_000)
    records = [upper, lower, *golden_records(), Record(None, None, 0)]
    commit(warehouse, scored(warehouse, scoring, records))
    sql = spark.sql
    for name in [*[t.name for t in TABLES], *[v.name for v in VIEWS]]:
        sql(f"SELECT * FROM {name}").collect()
    latest = sql("SELECT * FROM latest_scores WHERE lower(wallet_address) = '0xab'").collect()
    assert [(row.wallet_address, row.as_of) for row in latest] == [("0xab", 9)]
    best = sql("SELECT * FROM leaderboard WHERE rank = 1").collect()
    highest = max(g.expected["final_score"] for g in golden_wallets())
    assert [float(row.zscore) for row in best] == [pytest.approx(highest)]
    day = sql("SELECT * FROM daily_summary ORDER BY scores DESC").collect()
    assert [(row.scores, row.wallets, row.rejects) for row in day] == [(82, 81, 0), (0, 0, 1)]


def _simple(wallet: str, action: str) -> bytes:
    row = {"document_id": "1", "action": action, "timestamp": 1, "poolId": "p"}
    entry = {"protocolType": "dexes", "transactions": [row]}
    return json.dumps({"wallet_address": wallet, "data": [entry]}).encode()


def test_a_table_of_other_columns_is_refused(tmp_path: Path) -> None:
    write_deltalake(f"{tmp_path}/scores", pa.table({"id": [1]}))
    with pytest.raises(DeltaError, match=r"table scores at .* cannot be used: it has no column"):
        Warehouse(str(tmp_path), CATALOG).create_tables()
    write_deltalake(f"{tmp_path}/other/scores", pa.table({"wallet_address": [1]}))
    with pytest.raises(DeltaError, match="its column wallet_address is int64, not string"):
        Warehouse(f"{tmp_path}/other", CATALOG).create_tables()
