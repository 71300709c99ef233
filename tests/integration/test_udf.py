"""Scores over people's own DataFrames: on a real Spark Connect server, and in a classic session."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from scorestream import udf
from scorestream.infra.errors import ConfigurationError, InputError
from scorestream.infra.kafka.producer import Record
from scorestream.wallets.core.pipeline import score_messages
from scorestream.wallets.core.scoring import Scoring, Weighted
from scorestream.wallets.execution.configured_scoring import load_scoring
from scorestream.wallets.execution.scoring_task import score_records
from tools.benchmarks.workload import Workload
from tools.testkit.connect_server import connect_server, run_client
from tools.testkit.golden import (
    broken_records,
    configured_dex_v1,
    differences,
    golden_records,
    golden_wallets,
    results,
)
from tools.testkit.lending import Lending
from tools.testkit.records import records_of

pytestmark = pytest.mark.spark

NOW: Final = 1_800_000_000
# Those of the golden wallets, messages that cannot be scored, and one without a moment.
RECORDS: Final = [*golden_records(), *broken_records(), golden_records()[0]._replace(timestamp=-1)]
# What the functions do for people's frames; each is called as a person would.
CLIENT: Final = """
from datetime import datetime, timezone
from pyspark.sql import functions as F
from scorestream.udf import message_scorer, score_messages, score_transactions

folder = sys.argv[1]
messages = spark.read.parquet(f"{folder}/messages")

def rows(frame):
    return [row.asDict(recursive=True) for row in frame.orderBy("key").collect()]

batch = rows(score_messages(messages))
udf = messages.select("key", message_scorer()("value", "timestamp").alias("r")).select("key", "r.*")
stream = score_messages(spark.readStream.schema(messages.schema).parquet(f"{folder}/messages"))
query = (
    stream.writeStream.format("parquet").option("checkpointLocation", f"{folder}/checkpoint")
    .trigger(availableNow=True).start(f"{folder}/streamed")
)
query.awaitTermination()
seconds = messages.withColumn("timestamp", F.floor(F.unix_millis("timestamp") / 1000))
texts = seconds.filter("key < 80").withColumn("value", F.col("value").cast("string"))
moment = datetime.fromtimestamp(1_800_000_000, timezone.utc)
wallets = score_transactions(spark.read.parquet(f"{folder}/transactions"), moment)
print(json.dumps(
    {
        "batch": batch,
        "udf": rows(udf),
        "stream": rows(spark.read.parquet(f"{folder}/streamed")),
        "texts": rows(score_messages(texts)),
        "wallets": [row.asDict(recursive=True) for row in wallets.collect()],
    },
    default=str,
))
"""
Rows = list[dict[str, Any]]


def write_messages(folder: Path, records: list[Record]) -> None:
    """Messages as Spark's Kafka source gives them, numbered by their key."""
    stamps = [r.timestamp for r in records]
    columns = {
        "key": pa.array(range(len(records))),
        "value": pa.array([r.value for r in records], pa.binary()),
        "timestamp": pa.array(stamps, pa.timestamp("ms", "UTC")).cast(pa.timestamp("us", "UTC")),
    }
    folder.mkdir()
    pq.write_table(pa.table(columns), folder / "messages.parquet")


def wallet_messages() -> list[bytes]:
    return [record.value or b"" for record in Workload(60).records()]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory, scoring: Scoring) -> Iterator[dict[str, Rows]]:
    """Rows that a client of a Spark Connect server gets."""
    folder = tmp_path_factory.mktemp("connect")
    write_messages(folder / "messages", RECORDS)
    values = wallet_messages()
    exploded = score_messages(values, np.full(len(values), NOW), (scoring,)).transactions
    assert exploded is not None
    (folder / "transactions").mkdir()
    bad = exploded.slice(0, 1).to_pylist()[0] | {"wallet_address": "0xBad", "document_id": None}
    rows = pa.concat_tables([exploded, pa.Table.from_pylist([bad], exploded.schema)])
    plain = rows.drop_columns(["position", "as_of", "wallet_key", "usd_value"])
    pq.write_table(plain, folder / "transactions" / "rows.parquet")
    with connect_server(folder) as address:
        yield run_client(address, CLIENT, str(folder))


def by_the_core(scoring: Scoring, records: list[Record]) -> Rows:
    [(scored, _)] = score_records([records_of(records)], (scoring,), include_transactions=False)
    return results(scored)


def typed(row: dict[str, Any]) -> dict[str, Any]:
    """A row that went through JSON."""
    return row | {"zscore": None if row["zscore"] is None else Decimal(row["zscore"])}


def test_the_golden_wallets_are_scored_to_the_last_digit(found: dict[str, Rows]) -> None:
    for golden, row in zip(golden_wallets(), found["batch"], strict=False):
        assert differences(typed(row), golden.expected) == []
        assert (row["scoring"], row["error_code"], row["as_of"]) == ("dex-v1", None, golden.as_of)


def test_rejects_are_those_of_the_job(found: dict[str, Rows], scoring: Scoring) -> None:
    rejects = [row for row in found["batch"] if row["error_code"]]
    expected = [row for row in by_the_core(scoring, RECORDS) if "error_code" in row]
    names = ("wallet_address", "as_of", "transaction_count", "error_code", "error")
    assert [[row[n] for n in names] for row in rejects] == [[e[n] for n in names] for e in expected]
    assert {row["key"] for row in rejects} == set(range(len(golden_wallets()), len(RECORDS)))
    assert all(row["zscore"] is row["features"] is row["breakdown"] is None for row in rejects)


@pytest.mark.parametrize("way", ["udf", "stream"])
def test_a_column_and_a_stream_give_the_rows_of_the_batch(way: str, found: dict[str, Rows]) -> None:
    names = found[way][0].keys()
    assert found[way] == [{name: row[name] for name in names} for row in found["batch"]]


def test_texts_and_unix_seconds_are_taken_as_well(found: dict[str, Rows]) -> None:
    without = [row for row in found["batch"] if row["key"] < len(golden_wallets())]
    names = [name for name in without[0] if name not in ("value", "timestamp")]
    assert [[row[n] for n in names] for row in found["texts"]] == [
        [row[n] for n in names] for row in without
    ]


def test_a_table_of_transactions_gives_the_scores_of_the_messages(
    found: dict[str, Rows], scoring: Scoring
) -> None:
    values = wallet_messages()
    expected = results(score_messages(values, np.full(len(values), NOW), (scoring,)))
    scores = {row["wallet_address"]: row for row in found["wallets"] if not row["error_code"]}
    assert scores.keys() == {row["wallet_address"] for row in expected}
    for row in expected:
        score = typed(scores[row["wallet_address"]])
        assert {name: score[name] for name in ("zscore", "tags", "features", "breakdown")} == {
            name: row[name] for name in ("zscore", "tags", "features", "breakdown")
        }
    [reject] = [row for row in found["wallets"] if row["error_code"]]
    assert (reject["wallet_address"], reject["zscore"]) == ("0xBad", None)
    assert "document_id" in reject["error"]


def test_a_classic_session_gives_the_same(
    found: dict[str, Rows], spark: SparkSession, tmp_path: Path
) -> None:
    write_messages(tmp_path / "messages", RECORDS[:3])
    messages = spark.read.parquet(str(tmp_path / "messages"))
    rows = [row.asDict() for row in udf.score_messages(messages).orderBy("key").collect()]
    assert [row["zscore"] for row in rows] == [typed(row)["zscore"] for row in found["batch"][:3]]
    same = udf.score_messages(messages, as_of=datetime.fromtimestamp(NOW, UTC))
    assert {row.as_of for row in same.select("as_of").collect()} == {NOW}


def test_several_scorings_give_a_row_of_each(
    spark: SparkSession, tmp_path: Path, scoring: Scoring
) -> None:
    both = Scoring("both", (Weighted(configured_dex_v1(), 3.0), Weighted(Lending(), 1.0)))
    records = [*golden_records()[:2], *broken_records()[1:2]]
    loans = {"protocolType": "lending", "transactions": [{"timestamp": 1, "repaid": True}]}
    golden = golden_wallets()[0]
    lent = golden.message | {"data": [*golden.message["data"], loans]}
    records.append(Record(None, json.dumps(lent).encode(), golden.as_of * 1000))
    write_messages(tmp_path / "messages", records)
    messages = spark.read.parquet(str(tmp_path / "messages"))
    frame = udf.score_messages(messages, [scoring, both]).orderBy("key", "scoring")
    rows = [row.asDict(recursive=True) for row in frame.collect()]
    answers = [(row["key"], row["scoring"], row["error_code"]) for row in rows]
    assert answers == [
        *((0, "both", None), (0, "dex-v1", None), (1, "both", None), (1, "dex-v1", None)),
        (2, None, "invalid_json"),
        *((3, "both", None), (3, "dex-v1", None)),
    ]
    assert rows[0]["zscore"] == rows[1]["zscore"] == rows[6]["zscore"]
    assert rows[5]["categories"].keys() == {"dexes", "lending"}
    assert rows[5]["final_score"] == (3 * rows[6]["final_score"] + 10) / 4
    with pytest.raises(ConfigurationError, match="the history is of dexes, and --scoring needs"):
        udf.score_transactions(messages, NOW, both)
    with pytest.raises(InputError, match="scorings dex-v1, dex-v1: give different ones"):
        udf.score_messages(messages, [scoring, scoring])


def test_frames_that_cannot_be_scored_are_refused(spark: SparkSession) -> None:
    messages = spark.createDataFrame([("{}", 1.5, "w")], "value string, timestamp double, w string")
    with pytest.raises(InputError, match="timestamp is double, must be timestamps or seconds"):
        udf.score_messages(messages)
    with pytest.raises(InputError, match="no column json among value, timestamp, w"):
        udf.score_messages(messages, value="json")
    with pytest.raises(InputError, match="Wallet_Key: columns of the result, or two of a name"):
        udf.score_messages(messages.withColumnRenamed("w", "Wallet_Key"), as_of=NOW)
    with pytest.raises(InputError, match="has no time zone"):
        udf.score_messages(messages, as_of=datetime(2026, 1, 1))  # noqa: DTZ001
    with pytest.raises(InputError, match=r"no moment in unix seconds; are these milliseconds\?"):
        udf.score_messages(messages, as_of=NOW * 1000)
    with pytest.raises(InputError, match="columns: poolId: not one of wallet_address, "):
        udf.score_transactions(messages, NOW, columns={"poolId": "w"})
    with pytest.raises(InputError, match="a stream of transactions"):
        udf.score_transactions(spark.readStream.format("rate").load(), NOW)
    with pytest.raises(InputError, match="no column wallet_address, document_id, action"):
        udf.score_transactions(messages, NOW)
    with pytest.raises(ConfigurationError, match=r"dex-v9\.yaml: cannot be read"):
        load_scoring("dex-v9")
