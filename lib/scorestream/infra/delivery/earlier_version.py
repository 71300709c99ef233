"""Where a stream starts over tables of an earlier version, which recorded no coverage."""

from __future__ import annotations

from dataclasses import replace
from functools import reduce

import structlog
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from scorestream.infra.delivery.coverage import Coverage, Span, StoredBatches, proven_starts
from scorestream.infra.delivery.coverage_table import CoverageTable
from scorestream.infra.delta.spark_reader import read
from scorestream.infra.errors import CheckpointError
from scorestream.infra.kafka.cluster import Offsets

log = structlog.get_logger()


def holds_rows(records: CoverageTable) -> bool:
    """Whether the tables may hold anything of the topic, by the statistics of their files."""
    topic, warehouse = records.stream.topic, records.warehouse
    return any(
        warehouse.files(table, [[("source_topic", "=", topic)]]) for table in records.stream.tables
    )


def coverage_of_rows(
    spark: SparkSession, records: CoverageTable, empty: Coverage, written: Offsets
) -> Coverage:
    """What is delivered, as far as the stored rows prove it.

    Within a run a batch is planned when the one before it is done. So of each run the newest batch
    alone may have been cut off, and what follows the earliest of these is looked at once more.

    Args:
        spark: the session.
        records: of the stream; there are none.
        empty: coverage of nothing.
        written: for each partition, the offset that the next record will have.

    Raises:
        CheckpointError: the topic was recreated.
    """
    batches = _stored_batches(spark, records)
    _refuse_lost_offsets({b.partition: b.last for b in batches}, written, empty.topic)
    starts = proven_starts(batches)
    log.warning("no_coverage_of_an_earlier_version", topic=empty.topic, starts=starts)
    return replace(empty, settled=False, spans={p: Span(at, at) for p, at in starts.items()})


def _stored_batches(spark: SparkSession, records: CoverageTable) -> list[StoredBatches]:
    """What each run has stored of each partition of a topic."""
    columns = ["run_id", "batch_id", "source_partition", "source_offset"]
    of_topic = F.col("source_topic") == records.stream.topic
    tables = (
        read(spark, records.warehouse, table).where(of_topic).select(*columns)
        for table in records.stream.tables
    )
    rows = reduce(DataFrame.unionAll, tables)
    newest = rows.groupBy("run_id").agg(F.max("batch_id").alias("newest"))
    done = F.when(F.col("batch_id") < F.col("newest"), F.col("source_offset"))
    found = (
        rows.join(newest, "run_id")
        .groupBy("run_id", "source_partition")
        .agg(F.max(done).alias("proven"), F.max("source_offset").alias("last"))
    )
    return [StoredBatches(r.source_partition, r.proven, r.last) for r in found.collect()]


def _refuse_lost_offsets(held: Offsets, ends: Offsets, topic: str) -> None:
    ahead = {p: offset for p, offset in held.items() if offset >= ends.get(p, 0)}
    if ahead:
        raise CheckpointError(
            f"the warehouse holds offsets of {topic} that the topic does not have (partition: "
            f"offset {ahead}): it was recreated; use another SCORESTREAM_WAREHOUSE, or --reprocess"
        )
