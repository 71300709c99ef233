"""Score a Kafka topic into a Delta table by Spark's own source and sink: an example to copy.

    spark-submit examples/plain_stream.py --bootstrap-servers HOST:PORT --topic TOPIC --output DIR

The job `stream_scores` does more: tables of rejects and transactions, results to Kafka, registered
models, messages that crash their task. This is the plain way, in one query.
"""

from __future__ import annotations

import argparse

from pyspark.sql import DataFrame, SparkSession

from scorestream import load_scoring, score_messages

DELTA = {
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
}


def parse_arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bootstrap-servers", required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--output", required=True, metavar="DIR", help="of the Delta table")
    parser.add_argument("--scoring", default="dex-v1", metavar="NAME")
    parser.add_argument("--available-now", action="store_true", help="end when all is scored")
    return parser.parse_args()


def read_topic(spark: SparkSession, servers: str, topic: str) -> DataFrame:
    """Read a topic from its first record on."""
    source = spark.readStream.format("kafka").option("kafka.bootstrap.servers", servers)
    records = source.option("subscribe", topic).option("startingOffsets", "earliest").load()
    return records.select("topic", "partition", "offset", "timestamp", "value")


def main() -> None:
    """Run the query until it is stopped, or until all that is there is scored."""
    given = parse_arguments()
    builder = SparkSession.builder
    for name, setting in DELTA.items():
        builder = builder.config(name, setting)
    spark = builder.getOrCreate()
    messages = read_topic(spark, given.bootstrap_servers, given.topic)
    results = score_messages(messages, load_scoring(given.scoring))
    # A message that could not be scored keeps its bytes.
    kept = results.selectExpr("CASE WHEN error_code IS NOT NULL THEN value END AS rejected", "*")
    writer = kept.drop("value").writeStream.format("delta").outputMode("append")
    writer = writer.option("checkpointLocation", f"{given.output}/_checkpoint")
    if given.available_now:
        writer = writer.trigger(availableNow=True)
    writer.start(given.output).awaitTermination()


if __name__ == "__main__":
    main()
