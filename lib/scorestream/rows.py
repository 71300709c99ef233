"""Scored records as rows of the tables, and rows of the tables as Kafka messages.

Kafka messages are made from table rows only, so that what is published is what Delta holds,
whether the rows are fresh or read back after a crash.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from scorestream.core import schemas
from scorestream.core.pipeline import ScoringModel
from scorestream.tables import REJECTS, SCORES, TRANSACTIONS, WALLET_KEY

SCHEMA_VERSION: Final = 1


@dataclass(frozen=True)
class BatchFacts:
    """What all rows of a micro-batch share."""

    run_id: str
    batch_id: int
    scored_at: datetime
    processing_time_ms: int
    code_version: str


def score_rows(scored: DataFrame, model: ScoringModel, facts: BatchFacts) -> DataFrame:
    """`SCORED_RECORDS` -> rows of `scores`."""
    rows = scored.where("score is not null").select("*", "score.*")
    versions = {
        "scoring": F.lit(model.name),
        "config_hash": F.lit(model.config_hash),
        "code_version": F.lit(facts.code_version),
        "scored_date": F.lit(facts.scored_at.date()),
    }
    return _stamped(rows, facts, "scored_at").withColumns(versions).select(*SCORES.columns.names)


def reject_rows(scored: DataFrame, facts: BatchFacts) -> DataFrame:
    """`SCORED_RECORDS` -> rows of `rejects`."""
    rows = scored.where("reject is not null").select("*", "reject.*")
    return _stamped(rows, facts, "rejected_at").select(*REJECTS.columns.names)


def transaction_rows(scored: DataFrame, facts: BatchFacts) -> DataFrame:
    """`SCORED_RECORDS` -> rows of `transactions`, one a transaction."""
    rows = scored.where("score is not null").select("*", F.inline("transactions"))
    return _stamped(rows, facts, "ingested_at").select(*TRANSACTIONS.columns.names)


def _stamped(rows: DataFrame, facts: BatchFacts, at: str) -> DataFrame:
    return rows.withColumns(
        {
            "run_id": F.lit(facts.run_id),
            "batch_id": F.lit(facts.batch_id).cast("long"),
            "processing_time_ms": F.lit(facts.processing_time_ms).cast("long"),
            at: F.lit(facts.scored_at),
        }
    )


def success_messages(scores: DataFrame, topic: str) -> DataFrame:
    """Rows of `scores` -> Kafka records (topic, key, value, headers)."""
    category = F.struct(
        F.lit("dexes").alias("category"),
        F.col("final_score").alias("score"),
        "transaction_count",
        F.struct(
            *[f"features.{f.name}" for f in schemas.FEATURES],
            "lp_score",
            "swap_score",
            "final_score",
        ).alias("features"),
    )
    value = F.struct(
        "wallet_address",
        _decimal_text("zscore").alias("zscore"),
        _seconds("scored_at").alias("timestamp"),
        "processing_time_ms",
        F.array(category).alias("categories"),
        "tags",
        "breakdown",
        "models",
        "scoring",
        "config_hash",
        "as_of",
        F.lit(SCHEMA_VERSION).alias("schema_version"),
        _source(),
    )
    headers = [_header("source", _source_text()), _header("scoring", F.col("scoring"))]
    return _records(scores, topic, value, F.concat(F.array(*headers), _model_headers()))


def failure_messages(rejects: DataFrame, topic: str) -> DataFrame:
    """Rows of `rejects` -> Kafka records (topic, key, value, headers)."""
    category = F.struct(F.lit("dexes").alias("category"), "error", "transaction_count")
    value = F.struct(
        "wallet_address",
        "error",
        "error_code",
        _seconds("rejected_at").alias("timestamp"),
        "processing_time_ms",
        F.array(category).alias("categories"),
        "as_of",
        F.lit(SCHEMA_VERSION).alias("schema_version"),
        _source(),
    )
    return _records(rejects, topic, value, F.array(_header("source", _source_text())))


def _records(rows: DataFrame, topic: str, value: Column, headers: Column) -> DataFrame:
    return rows.select(
        F.lit(topic).alias("topic"),
        F.expr(WALLET_KEY).cast("binary").alias("key"),
        F.to_json(value, {"ignoreNullFields": "false"}).cast("binary").alias("value"),
        headers.alias("headers"),
    )


def _decimal_text(name: str) -> Column:
    # A plain cast to string prints zero as 0E-18.
    return F.expr(f"format_number({name}, '0.{'0' * schemas.ZSCORE.scale}')")


def _seconds(name: str) -> Column:
    return F.unix_timestamp(F.col(name))


def _source() -> Column:
    return F.struct(
        F.col("source_topic").alias("topic"),
        F.col("source_partition").alias("partition"),
        F.col("source_offset").alias("offset"),
    ).alias("source")


def _source_text() -> Column:
    return F.concat_ws("/", "source_topic", "source_partition", "source_offset")


def _header(key: str, value: Column) -> Column:
    return F.struct(F.lit(key).alias("key"), value.cast("binary").alias("value"))


def _model_headers() -> Column:
    """One header a registered model: `model-NAME` = its version."""
    return F.transform(
        F.map_entries("models"),
        lambda model: F.struct(
            F.concat(F.lit("model-"), model["key"]).alias("key"),
            model["value"]["version"].cast("binary").alias("value"),
        ),
    )
