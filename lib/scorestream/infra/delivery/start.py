"""Where a stream starts: after its checkpoint, else after what the warehouse holds."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final, Literal

from pyspark.sql import SparkSession

from scorestream.infra.delivery.checkpoint import Checkpoint, Progress, StreamState
from scorestream.infra.delivery.coverage import Coverage, Span, rows_of, tables_behind
from scorestream.infra.delivery.coverage_table import CoverageTable
from scorestream.infra.delivery.earlier_version import coverage_of_rows, holds_rows
from scorestream.infra.delivery.start_checks import (
    refuse_older_copies,
    refuse_other_tables,
    refuse_other_topic,
    refuse_recreated,
    table_ids,
)
from scorestream.infra.delivery.unpublished_rows import UnpublishedRows
from scorestream.infra.errors import CheckpointError
from scorestream.infra.kafka.cluster import KafkaCluster
from scorestream.infra.kafka.connection import ANSWER_SECONDS

StartingOffsets = Literal["earliest", "latest"]
# How Spark's Kafka source writes "earliest" where offsets are given by partition.
_EARLIEST: Final = -2


@dataclass(frozen=True)
class Start:
    """What a start of the stream goes by.

    Attributes:
        state: what the checkpoint was first started for.
        records: where it is recorded what is delivered.
        coverage: what was delivered before.
        unpublished: rows that the warehouse holds beyond that.
    """

    state: StreamState
    records: CoverageTable
    coverage: Coverage
    unpublished: UnpublishedRows

    @classmethod
    def after(
        cls,
        coverage: Coverage,
        state: StreamState,
        records: CoverageTable,
        *,
        partitions: Iterable[int],
        run_id: str = "",
    ) -> Start:
        """A start after what is delivered, which is recorded as its beginning.

        Args:
            coverage: what is delivered.
            state: what the checkpoint was first started for.
            records: of the stream.
            partitions: all of the topic.
            run_id: the query's id, if it has begun already.
        """
        newest = records.newest()
        condition = rows_of(coverage.generation, newest.generation if newest else 0, run_id)
        unpublished = UnpublishedRows.find(
            records.warehouse,
            records.stream.tables,
            coverage,
            condition=condition,
            partitions=partitions,
        )
        # Its number is new, so that no attempt at a batch has that of an earlier start's.
        settled = unpublished.are_delivered(coverage)
        begun = coverage.next(records.tables(coverage.generation), settled=settled)
        records.write(begun)
        return cls(state, records, begun, unpublished)


def find_start(
    checkpoint: Checkpoint,
    records: CoverageTable,
    cluster: KafkaCluster,
    *,
    reprocess: bool = False,
    default: StartingOffsets = "earliest",
) -> Start:
    """Find where the stream starts: by the checkpoint, and what is recorded as delivered.

    Nobody else may store anything of the topic meanwhile.

    Args:
        checkpoint: a new one, or one that has begun.
        records: of the stream, whose tables are there.
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
        return _begin(checkpoint, records, cluster, reprocess=reprocess, default=default)
    _refuse_mismatch(known, checkpoint, records, cluster)
    if reprocess:
        raise CheckpointError(
            f"--reprocess needs a new checkpoint, {checkpoint.location} has begun already: "
            "give another with --checkpoint"
        )
    return _resume(known, checkpoint, records, cluster, progress=progress)


def _refuse_mismatch(
    state: StreamState, checkpoint: Checkpoint, records: CoverageTable, cluster: KafkaCluster
) -> None:
    """Refuse a checkpoint of another topic or of other tables, or one that is out of step."""
    refuse_other_topic(state, records.stream)
    refuse_recreated(cluster, state, ANSWER_SECONDS)
    refuse_other_tables(state, records.warehouse, records.stream)
    refuse_older_copies(state, checkpoint, records.warehouse, records.stream)


def _resume(
    state: StreamState,
    checkpoint: Checkpoint,
    records: CoverageTable,
    cluster: KafkaCluster,
    *,
    progress: Progress | None,
) -> Start:
    """Go on after a checkpoint."""
    topic = records.stream.topic
    cluster.refuse_hidden(topic, checkpoint.next_offsets(topic))
    coverage = _coverage_of_checkpoint(records, state, checkpoint, progress)
    partitions, run_id = cluster.end_offsets(topic), _run(progress)
    start = Start.after(coverage, state, records, partitions=partitions, run_id=run_id)
    checkpoint.write_generation(coverage.generation)
    return start


def _begin(
    checkpoint: Checkpoint,
    records: CoverageTable,
    cluster: KafkaCluster,
    *,
    reprocess: bool,
    default: StartingOffsets,
) -> Start:
    """Begin with a new checkpoint."""
    topic, warehouse = records.stream.topic, records.warehouse
    topic_id, ends = cluster.topic_id(topic), cluster.end_offsets(topic)
    empty = Coverage(topic, topic_id, tables=records.tables(0), settled=True)
    coverage = _recorded(records, empty, reprocess=reprocess)
    if coverage is None:
        coverage = _unrecorded(checkpoint.spark, records, cluster, empty, reprocess=reprocess)
    cluster.refuse_hidden(topic, coverage.starts)
    if default == "latest" and coverage.settled and not coverage.spans:
        coverage = replace(coverage, spans={p: Span(end, end) for p, end in ends.items()})
    tables = table_ids(warehouse, records.stream)
    state = StreamState(topic=topic, topic_id=topic_id, tables=tables)
    start = Start.after(coverage, state, records, partitions=ends)
    checkpoint.write_generation(coverage.generation)
    checkpoint.write_state(state)
    return start


def _coverage_of_checkpoint(
    records: CoverageTable, state: StreamState, checkpoint: Checkpoint, progress: Progress | None
) -> Coverage:
    """What is delivered where a checkpoint goes on: what is recorded, and what it proves itself."""
    generation = checkpoint.generation()
    if generation is None:
        generation = _generation_of_earlier_version(records, progress)
    newest = records.newest(generation)
    if newest is None:
        newest = Coverage(state.topic, state.topic_id, generation, run_id=_run(progress))
    if behind := tables_behind(newest.tables, records.tables(generation)):
        raise CheckpointError(
            f"{', '.join(behind)} in {records.warehouse.root} is an older copy than when "
            f"{state.topic} was last delivered; use a new --checkpoint, which starts after what "
            "the tables hold"
        )
    # Of a run that another has followed, the records know better.
    if progress is None or newest.run_id != progress.run_id:
        return newest
    return newest.with_delivered(checkpoint.proven(state.topic, progress.done))


def _run(progress: Progress | None) -> str:
    return progress.run_id if progress else ""


def _generation_of_earlier_version(records: CoverageTable, progress: Progress | None) -> int:
    """Which pass a checkpoint of an earlier version is of: the first, unless another has that."""
    newest = records.newest()
    if newest is None:
        return 0
    # A start that was cut off before the checkpoint knew.
    own = progress is not None and newest.run_id == progress.run_id
    return newest.generation + (not own)


def _recorded(records: CoverageTable, empty: Coverage, *, reprocess: bool) -> Coverage | None:
    """What is recorded as delivered where a checkpoint or a pass begins; None: no record."""
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
    return records.newest_confirmed(newest.generation)


def _unrecorded(
    spark: SparkSession,
    records: CoverageTable,
    cluster: KafkaCluster,
    empty: Coverage,
    *,
    reprocess: bool,
) -> Coverage:
    """What is delivered where there is no record: nothing, or what an earlier version stored."""
    if not holds_rows(records):
        return empty
    if reprocess:
        return empty.next_generation(empty)
    written = cluster.written_offsets(records.stream.topic)
    return coverage_of_rows(spark, records, empty, written)


def starting_offsets(start: Start, partitions: list[int], default: StartingOffsets) -> str:
    """The option `startingOffsets` of Spark's Kafka source; it counts for a new checkpoint only.

    Partitions of which nothing is known begin where `default` says, or if others are known at
    their first offset: what lies there was never delivered.
    """
    starts = start.coverage.starts
    if not starts and not any(start.unpublished.files.values()):
        return default
    first = {p: starts.get(p, _EARLIEST) for p in partitions}
    return json.dumps({start.state.topic: {str(p): offset for p, offset in first.items()}})
