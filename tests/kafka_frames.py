"""Records as Spark's Kafka source has them, without a broker."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from pyspark.sql import DataFrame, SparkSession

from scorestream.io.kafka import Record

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SCHEMA = (
    "key binary, value binary, topic string, partition int, offset bigint, timestamp timestamp, "
    "headers array<struct<key: string, value: binary>>"
)


def kafka_frame(
    spark: SparkSession, records: Sequence[Record], topic: str = "in", first_offset: int = 0
) -> DataFrame:
    """The records, all in partition 0, from an offset on."""
    rows = [
        (r.key, r.value, topic, 0, offset, _moment(r), list(r.headers) or None)
        for offset, r in enumerate(records, start=first_offset)
    ]
    return spark.createDataFrame(rows, SCHEMA)


def _moment(record: Record) -> datetime:
    return EPOCH + timedelta(milliseconds=record.timestamp or 0)
