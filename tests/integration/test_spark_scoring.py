"""The core inside Spark: Arrow batches, types, tables, views and messages."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime

import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

from golden import broken_records, differences, golden_records, golden_wallets
from kafka_frames import kafka_frame
from message_schemas import validator
from scorestream.core.dex_v1 import DexV1
from scorestream.errors import DeltaError, QueryError
from scorestream.io.delta import Warehouse, spark_schema
from scorestream.io.kafka import Record
from scorestream.query import refuse_writing
from scorestream.rows import (
    BatchFacts,
    failure_messages,
    reject_rows,
    score_rows,
    success_messages,
    transaction_rows,
)
from scorestream.scoring import ATTEMPT_HEADER, score_records
from scorestream.tables import REJECTS, SCORES, TABLES, TRANSACTIONS, VIEWS

pytestmark = pytest.mark.spark

FACTS = BatchFacts("run", 7, datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), 42, "1+test")


def test_golden_wallets_agree_in_batches_of_any_size(spark: SparkSession, model: DexV1) -> None:
    expected = {(g.wallet, g.as_of): g.expected for g in golden_wallets()}
    frame = kafka_frame(spark, golden_records()).repartition(3)
    spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", 7)
    try:
        rows = score_records(frame, model, history=True).collect()
    finally:
        spark.conf.unset("spark.sql.execution.arrow.maxRecordsPerBatch")
    assert {(r.wallet_address, r.as_of) for r in rows} == set(expected)
    for row in rows:
        score = row.score.asDict(recursive=True)
        assert differences(score, expected[row.wallet_address, row.as_of]) == []
        assert len(row.transactions) == row.transaction_count


def test_arrow_batches_are_bounded_by_bytes(spark: SparkSession, model: DexV1) -> None:
    # 2 GiB would be the limit of an Arrow binary column; 60 MB in batches of 1 MB is as telling.
    def sizes_of(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            yield pa.RecordBatch.from_pydict({"bytes": [batch.nbytes]})

    records = [Record(b"k", b"x" * 1_000_000, 0)] * 60
    spark.conf.set("spark.sql.execution.arrow.maxBytesPerBatch", "1m")
    try:
        frame = kafka_frame(spark, records).coalesce(1)
        sizes = frame.mapInArrow(sizes_of, "bytes bigint").collect()
    finally:
        spark.conf.unset("spark.sql.execution.arrow.maxBytesPerBatch")
    assert max(size.bytes for size in sizes) < 3_000_000
    assert sum(size.bytes for size in sizes) >= 60_000_000


def test_rows_have_the_columns_of_their_tables(spark: SparkSession, model: DexV1) -> None:
    frame = kafka_frame(spark, golden_records()[:2] + broken_records()[:2])
    scored = score_records(frame, model, history=True)
    for table, rows in (
        (SCORES, score_rows(scored, model, FACTS)),
        (REJECTS, reject_rows(scored, FACTS)),
        (TRANSACTIONS, transaction_rows(scored, FACTS)),
    ):
        types = [(f.name, f.dataType.simpleString()) for f in rows.schema]
        assert types == [(f.name, f.dataType.simpleString()) for f in spark_schema(table)]


def test_messages_keep_to_their_schemas(spark: SparkSession, model: DexV1) -> None:
    odd = [
        Record(b"k", _simple("0xABCDEF", action="borrow"), 0),
        Record(b"k", _simple("a name", action="borrow"), 0),
    ]
    scored = score_records(kafka_frame(spark, odd + broken_records()), model, history=False)
    success = success_messages(score_rows(scored, model, FACTS), "s").collect()
    failure = failure_messages(reject_rows(scored, FACTS), "f").collect()
    assert len(failure) == len(broken_records())
    for rows, name in ((success, "wallet-scores-success"), (failure, "wallet-scores-failure")):
        for row in rows:
            assert list(validator(name).iter_errors(json.loads(row.value))) == []
            assert len(row.value) < 4000
    assert [bytes(row.key) for row in success] == [b"0xabcdef", b"a name"]
    first = json.loads(success[0].value)
    assert first["wallet_address"] == "0xABCDEF"
    assert first["zscore"] == "162.000000000000000000"
    assert first["timestamp"] == int(FACTS.scored_at.timestamp())


def _simple(wallet: str, action: str) -> bytes:
    row = {"document_id": "1", "action": action, "timestamp": 1, "poolId": "p"}
    entry = {"protocolType": "dexes", "transactions": [row]}
    return json.dumps({"wallet_address": wallet, "data": [entry]}).encode()


def test_attempts_come_from_the_header(spark: SparkSession, model: DexV1) -> None:
    headers = [(), ((ATTEMPT_HEADER, b"3"),), ((ATTEMPT_HEADER, b"x"),), (("other", b"1"),)]
    records = [Record(None, None, 0, headers=each) for each in headers]
    rows = score_records(kafka_frame(spark, records), model, history=False).collect()
    assert [row.attempt for row in rows] == [0, 3, 0, 0]


def test_a_repeated_transaction_of_delta_writes_nothing(warehouse: Warehouse, model: DexV1) -> None:
    scored = score_records(kafka_frame(warehouse.spark, golden_records()[:5]), model, False)
    rows = score_rows(scored, model, FACTS)
    assert warehouse.is_empty(SCORES)
    for _ in range(2):
        warehouse.append(SCORES, rows, ("run/scores", 7))
    assert warehouse.read(SCORES).count() == 5
    warehouse.append(SCORES, rows, ("run/scores", 8))
    assert warehouse.read(SCORES).count() == 10
    versions = warehouse.spark.sql("SELECT count(*) AS n FROM scores VERSION AS OF 1").collect()
    assert versions[0].n == 5


def test_every_table_and_view_can_be_queried(warehouse: Warehouse, model: DexV1) -> None:
    upper = Record(b"k", _simple("0xAB", "borrow"), 5_000)
    lower = Record(b"k", _simple("0xab", "borrow"), 9_000)
    frame = kafka_frame(warehouse.spark, [upper, lower, *golden_records(), Record(None, None, 0)])
    scored = score_records(frame, model, history=True)
    warehouse.append(SCORES, score_rows(scored, model, FACTS), None)
    warehouse.append(REJECTS, reject_rows(scored, FACTS), None)
    warehouse.append(TRANSACTIONS, transaction_rows(scored, FACTS), None)
    sql = warehouse.spark.sql
    for name in [*[t.name for t in TABLES], *[v.name for v in VIEWS]]:
        sql(f"SELECT * FROM {name}").collect()
    latest = sql("SELECT * FROM latest_scores WHERE lower(wallet_address) = '0xab'").collect()
    assert [(row.wallet_address, row.as_of) for row in latest] == [("0xab", 9)]
    best = sql("SELECT * FROM leaderboard WHERE rank = 1").collect()
    highest = max(g.expected["final_score"] for g in golden_wallets())
    assert [float(row.zscore) for row in best] == [pytest.approx(highest)]
    day = sql("SELECT * FROM daily_summary").collect()
    assert [(row.scores, row.rejects) for row in day] == [(82, 1)]


def test_a_table_of_other_columns_is_refused(warehouse: Warehouse) -> None:
    spark = warehouse.spark
    spark.sql("DROP TABLE scores")
    spark.range(1).write.format("delta").save(f"{warehouse.root}/other/scores")
    with pytest.raises(DeltaError, match=r"table scores at .* cannot be used"):
        Warehouse(spark, f"{warehouse.root}/other").create_tables()


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM scores",
        "INSERT INTO scores SELECT * FROM scores",
        "WITH x AS (SELECT 1) INSERT INTO tokens SELECT * FROM x",
        "FROM scores INSERT INTO tokens SELECT 1",
        "DROP TABLE scores",
        "CREATE TABLE x AS SELECT 1",
        "CREATE TEMPORARY VIEW x AS SELECT 1",
        "ALTER TABLE scores ADD COLUMNS (x INT)",
        "OPTIMIZE scores",
        "VACUUM scores",
        "SET spark.sql.ansi.enabled = false",
        "MERGE INTO scores USING scores AS s ON false WHEN NOT MATCHED THEN INSERT *",
        "TRUNCATE TABLE scores",
        "SELECT 1; DROP TABLE scores",
        "SELEC 1",
    ],
)
def test_query_refuses_what_does_not_only_read(spark: SparkSession, sql: str) -> None:
    with pytest.raises(QueryError):
        refuse_writing(spark, sql)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1",
        "WITH x AS (SELECT 1) SELECT * FROM x",
        "VALUES (1)",
        "TABLE scores",
        "SHOW TABLES",
        "DESCRIBE scores",
        "DESCRIBE HISTORY scores",
        "EXPLAIN SELECT 1",
        "SELECT count(*) FROM scores VERSION AS OF 0",
    ],
)
def test_query_accepts_what_only_reads(spark: SparkSession, sql: str) -> None:
    refuse_writing(spark, sql)
