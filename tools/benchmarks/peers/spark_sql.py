"""Spark SQL as people write it: `from_json`, `explode`, a window function and `groupBy`."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from pyspark.sql import Column, DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from scorestream.infra.kafka.connection import MAX_MESSAGE_BYTES
from scorestream.wallets.scorers.dex_v1.config import FEATURE_NAMES, DexV1Config
from tools.benchmarks.peers import FileCase, StreamCase
from tools.benchmarks.peers.formulas import derived_features, final_score
from tools.benchmarks.peers.scoring import constants
from tools.benchmarks.workload import AS_OF

LEG: Final = "STRUCT<amountUSD: DOUBLE, symbol: STRING>"
TRANSACTION: Final = (
    "STRUCT<action: STRING, timestamp: BIGINT, poolId: STRING, "
    f"tokenIn: {LEG}, tokenOut: {LEG}, token0: {LEG}, token1: {LEG}>"
)
MESSAGE: Final = (
    "wallet_address STRING, "
    f"data ARRAY<STRUCT<protocolType: STRING, transactions: ARRAY<{TRANSACTION}>>>"
)


# Messages (`value`, `timestamp`) -> `wallet_address`, `final_score` and `features`.
Score = Callable[[DataFrame], DataFrame]


def run(case: StreamCase, spark: SparkSession) -> float:
    """Seconds to read the topic, score, and write a Delta table and the success topic."""
    return run_topic(case, spark, _score)


def run_file(case: FileCase, spark: SparkSession) -> float:
    """Seconds to read the file, score, and write Parquet."""
    return run_lines(case, spark, _score)


def run_topic(case: StreamCase, spark: SparkSession, score: Score) -> float:
    """The same with another way to score."""
    began = time.perf_counter()
    # Two sinks read the scores.
    results = score(_topic(case, spark)).persist()
    results.write.format("delta").mode("append").save(str(case.folder / "scores"))
    _publish(results, case)
    results.unpersist()
    return time.perf_counter() - began


def run_lines(case: FileCase, spark: SparkSession, score: Score) -> float:
    """The same with another way to score."""
    began = time.perf_counter()
    lines = spark.read.text(str(case.path))
    messages = lines.withColumn("timestamp", F.timestamp_seconds(F.lit(AS_OF)))
    score(messages).write.parquet(str(case.scores))
    return time.perf_counter() - began


def _score(messages: DataFrame) -> DataFrame:
    texts = messages.select(
        F.col("value").cast("string").alias("value"),
        F.unix_seconds("timestamp").alias("as_of"),
    )
    return scores(texts, constants())


def scores(messages: DataFrame, config: DexV1Config) -> DataFrame:
    """Messages (`value`, `as_of`) -> `wallet_address`, `final_score` and `features`."""
    rows = _with_exits(_transactions(messages))
    stable = F.array(*[F.lit(symbol) for symbol in sorted(config.stable_symbols)])
    features = (
        rows.groupBy("wallet_address", "as_of")
        .agg(*_aggregates())
        .withColumn("stable_symbols", F.size(F.array_intersect("symbols", stable)))
        .withColumn("other_symbols", F.size(F.array_except("symbols", stable)))
        .withColumns({name: F.expr(text) for name, text in derived_features(config).items()})
    )
    return features.select(
        "wallet_address",
        F.expr(final_score(config)).alias("final_score"),
        F.struct(*FEATURE_NAMES).alias("features"),
    )


def _transactions(messages: DataFrame) -> DataFrame:
    parsed = messages.select("as_of", F.from_json("value", MESSAGE).alias("message"))
    entries = parsed.select(
        "as_of", "message.wallet_address", F.explode("message.data").alias("entry")
    )
    return (
        entries.where("entry.protocolType = 'dexes'")
        .select("as_of", "wallet_address", F.explode("entry.transactions").alias("row"))
        .select("as_of", "wallet_address", "row.*")
    )


def _with_exits(rows: DataFrame) -> DataFrame:
    """The USD value of each row, and the wallet's first withdraw after it."""
    both = _usd("token0") + _usd("token1")
    usd = F.when(F.col("action") == "swap", F.greatest(_usd("tokenIn"), _usd("tokenOut")))
    later = (
        Window.partitionBy("wallet_address", "as_of")
        .orderBy("timestamp")
        .rangeBetween(1, Window.unboundedFollowing)
    )
    return rows.withColumns(
        {"usd": usd.otherwise(both), "exit": F.min(_of("withdraw", "timestamp")).over(later)}
    )


def _aggregates() -> list[Column]:
    held = F.coalesce("exit", "as_of") - F.col("timestamp")
    swapped_at = _of("swap", "timestamp")
    symbols = [F.collect_set(_of("swap", f"{leg}.symbol")) for leg in ("tokenIn", "tokenOut")]
    aggregates = {
        "total_deposit_usd": _sum(_of("deposit", "usd")),
        "total_withdraw_usd": _sum(_of("withdraw", "usd")),
        "num_deposits": F.count(_of("deposit", "timestamp")),
        "num_withdraws": F.count(_of("withdraw", "timestamp")),
        "held_seconds": F.sum(F.when(F.col("action") == "deposit", held)),
        "span_seconds": F.max("timestamp") - F.min("timestamp"),
        "unique_pools": F.size(F.collect_set("poolId")),
        "total_swap_volume": _sum(_of("swap", "usd")),
        "num_swaps": F.count(swapped_at),
        "swap_span_seconds": F.max(swapped_at) - F.min(swapped_at),
        "unique_pools_swapped": F.size(F.collect_set(_of("swap", "poolId"))),
        "symbols": F.array_union(*symbols),
    }
    return [column.alias(name) for name, column in aggregates.items()]


def _of(action: str, column: str) -> Column:
    return F.when(F.col("action") == action, F.col(column))


def _sum(column: Column) -> Column:
    return F.coalesce(F.sum(column), F.lit(0.0))


def _usd(leg: str) -> Column:
    return F.coalesce(F.col(f"{leg}.amountUSD"), F.lit(0.0))


def _topic(case: StreamCase, spark: SparkSession) -> DataFrame:
    return (
        spark.read.format("kafka")
        .option("kafka.bootstrap.servers", case.bootstrap_servers)
        .option("subscribe", case.topic)
        .option("startingOffsets", "earliest")
        .option("endingOffsets", "latest")
        .load()
    )


def _publish(results: DataFrame, case: StreamCase) -> None:
    message = F.struct("wallet_address", "final_score", "features")
    records = results.select(
        F.col("wallet_address").alias("key"), F.to_json(message).alias("value")
    )
    (
        records.write.format("kafka")
        .option("kafka.bootstrap.servers", case.bootstrap_servers)
        .option("kafka.compression.type", "lz4")
        .option("kafka.max.request.size", str(MAX_MESSAGE_BYTES))
        .option("topic", case.success_topic)
        .save()
    )
