"""Our functions for DataFrames, between the source and the sinks of the peer in Spark SQL."""

from __future__ import annotations

from pyspark.sql import DataFrame, SparkSession

from scorestream.udf import score_messages
from tools.benchmarks.peers import FileCase, StreamCase, spark_sql
from tools.benchmarks.peers.scoring import scoring


def run(case: StreamCase, spark: SparkSession) -> float:
    """Seconds to read the topic, score, and write a Delta table and the success topic."""
    return spark_sql.run_topic(case, spark, _score)


def run_file(case: FileCase, spark: SparkSession) -> float:
    """Seconds to read the file, score, and write Parquet."""
    return spark_sql.run_lines(case, spark, _score)


def _score(messages: DataFrame) -> DataFrame:
    results = score_messages(messages.select("value", "timestamp"), scoring())
    return results.select("wallet_address", "final_score", "features")
