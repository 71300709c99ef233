"""Where a stream starts: after its checkpoint, else after what the warehouse holds."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final, Literal

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from scorestream.errors import CheckpointError
from scorestream.io.delta.spark import read
from scorestream.io.delta.warehouse import Warehouse
from scorestream.io.kafka.cluster import KafkaCluster, Offsets
from scorestream.streaming.checkpoint import Checkpoint, StreamState
from scorestream.tables import BATCH_TABLES, REJECTS, SCORES, TRANSACTIONS

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
        may_repeat: whether the first batch may be one that was cut off, and stored in part.
    """

    state: StreamState
    may_repeat: bool


def starting_state(
    spark: SparkSession,
    checkpoint: Checkpoint,
    warehouse: Warehouse,
    cluster: KafkaCluster,
    reprocess: bool,
) -> Start:
    """What this start goes by: the checkpoint's own state, or for a new one what is stored.

    Raises:
        CheckpointError: the checkpoint is damaged, or for another topic or warehouse; or one of
            them was recreated since, or brought back from an older copy.
        KafkaError: the broker does not answer, or a transaction hides where the stream goes on.
    """
    topic = cluster.settings.kafka_input_topic
    topic_id = cluster.topic_id(topic)
    known = checkpoint.read_state()
    if known is not None:
        _refuse_other_topic(known, topic, topic_id)
        refuse_other_tables(known, warehouse)
        refuse_older_copies(known, checkpoint, warehouse)
        if reprocess:
            raise CheckpointError(
                f"--reprocess needs a new checkpoint, {checkpoint.location} has begun already: "
                "give another with --checkpoint"
            )
        cluster.refuse_hidden(topic, checkpoint.next_offsets(topic))
        return Start(known, may_repeat=True)
    held, complete = ({}, {}) if reprocess else _held_offsets(spark, warehouse, topic)
    _refuse_lost_offsets(held, cluster.written_offsets(topic), topic)
    start = {p: complete[p] + 1 for p in complete}
    cluster.refuse_hidden(topic, start)
    tables = table_ids(warehouse)
    state = StreamState(topic=topic, topic_id=topic_id, start=start, held=held, tables=tables)
    checkpoint.write_state(state)
    return Start(state, may_repeat=False)


def starting_offsets(start: Start, partitions: list[int], default: StartingOffsets) -> str:
    """The option `startingOffsets` of Spark's Kafka source; it counts for a new checkpoint only.

    Partitions without a start of their own begin where `default` says, those of a warehouse that
    holds this topic already at their first offset: what lies there was never scored.
    """
    state = start.state
    if not state.held:
        return default
    first = {p: state.start.get(p, _EARLIEST) for p in partitions}
    return json.dumps({state.topic: {str(p): offset for p, offset in first.items()}})


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


def _held_offsets(spark: SparkSession, warehouse: Warehouse, topic: str) -> tuple[Offsets, Offsets]:
    """The last offset held of each partition: in all, and leaving out the newest batch.

    Only the newest batch can have been cut off between the tables, so that everything before it
    is known to be complete. It may have come no further than `transactions`.
    """
    if all(warehouse.is_empty(table) for table in BATCH_TABLES):
        return {}, {}
    exploded = _last_exploded(spark, warehouse, topic)
    stored = _stored_offsets(spark, warehouse, topic)
    newest = stored.agg(F.max(F.struct("at", "run_id", "batch_id"))).first()
    if newest is None or newest[0] is None:
        return exploded, {}
    run_id, batch_id = newest[0].run_id, newest[0].batch_id
    complete = (F.col("run_id") != run_id) | (F.col("batch_id") != batch_id)
    last = stored.groupBy("source_partition").agg(
        F.max("source_offset"), F.max(F.when(complete, F.col("source_offset")))
    )
    rows = last.collect()
    held = {p: max(last, exploded.get(p, -1)) for p, last, _ in rows}
    return exploded | held, {p: done for p, _, done in rows if done is not None}


def _last_exploded(spark: SparkSession, warehouse: Warehouse, topic: str) -> Offsets:
    """The last offset of each partition that `transactions` holds."""
    rows = read(spark, warehouse, TRANSACTIONS).where(F.col("source_topic") == topic)
    return dict(rows.groupBy("source_partition").agg(F.max("source_offset")).collect())


def _stored_offsets(spark: SparkSession, warehouse: Warehouse, topic: str) -> DataFrame:
    """(run_id, batch_id, source_partition, source_offset, at) of every message of the topic."""
    columns = ("run_id", "batch_id", "source_partition", "source_offset")
    of_topic = F.col("source_topic") == topic
    scores = read(spark, warehouse, SCORES).where(of_topic)
    rejects = read(spark, warehouse, REJECTS).where(of_topic)
    return scores.select(*columns, F.col("scored_at").alias("at")).unionAll(
        rejects.select(*columns, F.col("rejected_at").alias("at"))
    )
