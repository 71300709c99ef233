"""Where a stream starts: after its checkpoint, else after what the warehouse holds."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import reduce
from typing import Final, Literal

import structlog
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from scorestream.infra.delta.spark_reader import read
from scorestream.infra.delta.warehouse import Warehouse
from scorestream.infra.errors import CheckpointError
from scorestream.infra.kafka.cluster import KafkaCluster, Offsets
from scorestream.wallets.schema.tables import BATCH_TABLES
from scorestream.wallets.stream.checkpoint import Checkpoint, Progress, StreamState
from scorestream.wallets.stream.coverage import (
    Coverage,
    CoverageTable,
    Span,
    StoredBatches,
    behind,
    proven_of_before,
    rows_of,
)
from scorestream.wallets.stream.stored_offsets import Uncovered

log = structlog.get_logger()

StartingOffsets = Literal["earliest", "latest"]
# As long as Spark waits when it plans a batch.
PATIENCE_SECONDS: Final = 60.0
# How Spark's Kafka source writes "earliest" where offsets are given by partition.
_EARLIEST: Final = -2


@dataclass(frozen=True)
class Start:
    """What a start of the stream goes by.

    Attributes:
        state: what the checkpoint was first started for.
        records: where it is recorded what is delivered.
        coverage: what was delivered before.
        uncovered: what the warehouse holds beyond that.
    """

    state: StreamState
    records: CoverageTable
    coverage: Coverage
    uncovered: Uncovered

    @classmethod
    def after(
        cls,
        state: StreamState,
        coverage: Coverage,
        warehouse: Warehouse,
        partitions: Iterable[int],
        run_id: str = "",
    ) -> Start:
        """A start after what is delivered, which is recorded as its beginning.

        Args:
            state: what the checkpoint was first started for.
            coverage: what is delivered.
            warehouse: with the tables.
            partitions: all of the topic.
            run_id: the query's id, if it has begun already.
        """
        records = CoverageTable(warehouse, state.topic)
        newest = records.newest()
        ours = rows_of(coverage.generation, newest.generation if newest else 0, run_id)
        uncovered = Uncovered.find(warehouse, coverage, ours, partitions)
        # Its number is new, so that no attempt at a batch has that of an earlier start's.
        settled = uncovered.is_delivered(coverage)
        begun = coverage.next(records.tables(coverage.generation), settled)
        records.write(begun)
        return cls(state, records, begun, uncovered)


def starting_state(
    spark: SparkSession,
    checkpoint: Checkpoint,
    warehouse: Warehouse,
    cluster: KafkaCluster,
    reprocess: bool,
    default: StartingOffsets = "earliest",
) -> Start:
    """What this start goes by: the checkpoint, and what is recorded as delivered.

    Nobody else may store anything of the topic meanwhile.

    Args:
        spark: the session.
        checkpoint: a new one, or one that has begun.
        warehouse: with the tables.
        cluster: with the topic.
        reprocess: a new checkpoint begins the next pass over the topic.
        default: where a pass begins, if the warehouse holds nothing of it.

    Raises:
        CheckpointError: the checkpoint is damaged, or for another topic or warehouse; or one of
            them, or the topic, was recreated since, or brought back from an older copy.
        KafkaError: the broker does not answer, or a transaction hides where the stream goes on.
    """
    known, progress = checkpoint.read_state(), checkpoint.progress()
    # One of an earlier version that no query has begun with knows nothing that counts.
    if known is None or (progress is None and checkpoint.generation() is None):
        return _begun(spark, checkpoint, warehouse, cluster, reprocess, default)
    topic = cluster.settings.kafka_input_topic
    _refuse_other_topic(known, topic, cluster.topic_id(topic))
    refuse_other_tables(known, warehouse)
    refuse_older_copies(known, checkpoint, warehouse)
    if reprocess:
        raise CheckpointError(
            f"--reprocess needs a new checkpoint, {checkpoint.location} has begun already: "
            "give another with --checkpoint"
        )
    cluster.refuse_hidden(topic, checkpoint.next_offsets(topic))
    coverage = _resumed(CoverageTable(warehouse, topic), known, checkpoint, progress)
    ends = cluster.end_offsets(topic)
    start = Start.after(known, coverage, warehouse, ends, _run(progress))
    checkpoint.write_generation(coverage.generation)
    return start


def _begun(
    spark: SparkSession,
    checkpoint: Checkpoint,
    warehouse: Warehouse,
    cluster: KafkaCluster,
    reprocess: bool,
    default: StartingOffsets,
) -> Start:
    """What a new checkpoint begins with."""
    topic = cluster.settings.kafka_input_topic
    topic_id, ends = cluster.topic_id(topic), cluster.end_offsets(topic)
    records = CoverageTable(warehouse, topic)
    empty = Coverage(topic, topic_id, tables=records.tables(0), settled=True)
    coverage = _joined(records, empty, reprocess)
    if coverage is None:
        coverage = _first(spark, warehouse, empty, cluster.written_offsets(topic), reprocess)
    cluster.refuse_hidden(topic, coverage.starts)
    if default == "latest" and coverage.settled and not coverage.spans:
        coverage = replace(coverage, spans={p: Span(end, end) for p, end in ends.items()})
    state = StreamState(topic=topic, topic_id=topic_id, tables=table_ids(warehouse))
    start = Start.after(state, coverage, warehouse, ends)
    checkpoint.write_generation(coverage.generation)
    checkpoint.write_state(state)
    return start


def _resumed(
    records: CoverageTable, state: StreamState, checkpoint: Checkpoint, progress: Progress | None
) -> Coverage:
    """What is delivered where a checkpoint goes on: what is recorded, and what it proves itself."""
    generation = checkpoint.generation()
    if generation is None:
        generation = _generation_of_before(records, progress)
    newest = records.newest(generation)
    if newest is None:
        newest = Coverage(state.topic, state.topic_id, generation, run_id=_run(progress))
    if lost := behind(newest.tables, records.tables(generation)):
        raise CheckpointError(
            f"{', '.join(lost)} in {records.root} is an older copy than when {state.topic} was "
            "last delivered; use a new --checkpoint, which starts after what the tables hold"
        )
    # Of a run that another has followed, the records know better.
    if progress is None or newest.run_id != progress.run_id:
        return newest
    return newest.with_delivered(checkpoint.proven(state.topic, progress.done))


def _run(progress: Progress | None) -> str:
    return progress.run_id if progress else ""


def _generation_of_before(records: CoverageTable, progress: Progress | None) -> int:
    """Which pass a checkpoint of an earlier version is of: the first, unless another has that."""
    newest = records.newest()
    if newest is None:
        return 0
    # A start that was cut off before the checkpoint knew.
    own = progress is not None and newest.run_id == progress.run_id
    return newest.generation + (not own)


def _joined(records: CoverageTable, empty: Coverage, reprocess: bool) -> Coverage | None:
    """What is delivered where a new checkpoint begins, or the next pass; None: no record."""
    newest = records.newest()
    if newest is None:
        return None
    if reprocess:
        return newest.next_generation(empty)
    if newest.topic_id != empty.topic_id:
        raise CheckpointError(
            f"topic {newest.topic} was recreated since the warehouse holds some of it: its offsets "
            "count anew; use another SCORESTREAM_WAREHOUSE, or --reprocess"
        )
    return records.believed(newest.generation)


def _first(
    spark: SparkSession,
    warehouse: Warehouse,
    empty: Coverage,
    written: Offsets,
    reprocess: bool,
) -> Coverage:
    """What is delivered where there is no record: nothing, or what an earlier version stored.

    Within a run a batch is planned when the one before it is done. So of each run the newest batch
    alone may have been cut off, and what follows the earliest of these is looked at once more.
    """
    if not _holds_rows(warehouse, empty.topic):
        return empty
    if reprocess:
        return empty.next_generation(empty)
    batches = _stored_batches(spark, warehouse, empty.topic)
    _refuse_lost_offsets({b.partition: b.last for b in batches}, written, empty.topic)
    starts = proven_of_before(batches)
    log.warning("no_coverage_of_an_earlier_version", topic=empty.topic, starts=starts)
    return replace(empty, settled=False, spans={p: Span(at, at) for p, at in starts.items()})


def _holds_rows(warehouse: Warehouse, topic: str) -> bool:
    """Whether the tables may hold anything of a topic, by the statistics of their files."""
    return any(warehouse.files(table, [[("source_topic", "=", topic)]]) for table in BATCH_TABLES)


def _stored_batches(spark: SparkSession, warehouse: Warehouse, topic: str) -> list[StoredBatches]:
    """What each run has stored of each partition of a topic."""
    columns = ["run_id", "batch_id", "source_partition", "source_offset"]
    tables = (
        read(spark, warehouse, table).where(F.col("source_topic") == topic).select(*columns)
        for table in BATCH_TABLES
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


def starting_offsets(start: Start, partitions: list[int], default: StartingOffsets) -> str:
    """The option `startingOffsets` of Spark's Kafka source; it counts for a new checkpoint only.

    Partitions of which nothing is known begin where `default` says, or if others are known at
    their first offset: what lies there was never scored.
    """
    starts = start.coverage.starts
    if not starts and not any(start.uncovered.files.values()):
        return default
    first = {p: starts.get(p, _EARLIEST) for p in partitions}
    return json.dumps({start.state.topic: {str(p): offset for p, offset in first.items()}})


def refuse_recreated(
    cluster: KafkaCluster, state: StreamState, seconds: float = PATIENCE_SECONDS
) -> None:
    """Refuse a topic that is not the one that the checkpoint began with.

    A topic that was recreated and has grown past the old offsets looks like the old one to all
    who only ask for offsets.

    Args:
        cluster: whose topic it is.
        state: what the checkpoint was started for.
        seconds: how long an answer is waited for.

    Raises:
        CheckpointError: it was recreated.
        LostOffsetsError: it was deleted.
        KafkaError: the broker does not answer.
    """
    _refuse_other_topic(state, state.topic, cluster.topic_id(state.topic, seconds))


def _refuse_other_topic(state: StreamState, topic: str, topic_id: str) -> None:
    if state.topic != topic:
        raise CheckpointError(
            f"the checkpoint is for topic {state.topic}, KAFKA_INPUT_TOPIC is {topic}: use another "
            "--checkpoint"
        )
    if state.topic_id != topic_id:
        raise CheckpointError(
            f"topic {topic} was recreated since the checkpoint began: its offsets count anew; "
            "use another --checkpoint and --reprocess"
        )


def table_ids(warehouse: Warehouse) -> dict[str, str]:
    """The ids of the tables that a batch is committed to, by name."""
    return {table.name: warehouse.table_id(table) for table in BATCH_TABLES}


def refuse_other_tables(state: StreamState, warehouse: Warehouse) -> None:
    """Refuse tables that are not those the checkpoint was begun with, wherever they are.

    Raises:
        CheckpointError: with their names; none of a checkpoint of an earlier version.
    """
    tables = table_ids(warehouse)
    others = [name for name, known in state.tables.items() if tables.get(name) != known]
    if others:
        raise CheckpointError(
            f"{', '.join(others)} in {warehouse.root} is another table than the checkpoint was "
            "begun with: set SCORESTREAM_WAREHOUSE to that one, or use a new --checkpoint, which "
            "starts after what this warehouse holds"
        )


def refuse_older_copies(state: StreamState, checkpoint: Checkpoint, warehouse: Warehouse) -> None:
    """Refuse a checkpoint that is behind the tables, and tables that are behind the checkpoint.

    Tables of which one alone is behind are not told from those that had no rows to take.

    Raises:
        CheckpointError: one of the two is an older copy, or a file of the checkpoint is damaged.
    """
    progress = checkpoint.progress()
    if progress is None:
        return
    held = _newest_batch(warehouse, progress.run_id)
    if held > progress.planned:
        raise CheckpointError(
            f"the warehouse holds batch {held} of {progress.run_id}, and checkpoint "
            f"{checkpoint.location} none after {progress.planned}: the checkpoint is an older "
            "copy; use a new --checkpoint, which starts after what the warehouse holds"
        )
    # Earlier versions did not note every batch in the tables.
    if state.tables and held < progress.done:
        raise CheckpointError(
            f"checkpoint {checkpoint.location} has batch {progress.done} of {progress.run_id} as "
            f"done, and warehouse {warehouse.root} none after {held}: the warehouse is an older "
            "copy; use a new --checkpoint, which starts after what it holds"
        )


def _newest_batch(warehouse: Warehouse, run_id: str) -> int:
    """The newest batch of a run that any table has taken; -1: none."""
    versions = [
        warehouse.transaction_version(table, f"{run_id}/{table.name}") for table in BATCH_TABLES
    ]
    return max((version for version in versions if version is not None), default=-1)


def _refuse_lost_offsets(held: Offsets, ends: Offsets, topic: str) -> None:
    ahead = {p: offset for p, offset in held.items() if offset >= ends.get(p, 0)}
    if ahead:
        raise CheckpointError(
            f"the warehouse holds offsets of {topic} that the topic does not have (partition: "
            f"offset {ahead}): it was recreated; use another SCORESTREAM_WAREHOUSE, or --reprocess"
        )
