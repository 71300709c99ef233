"""Where a stream starts: after its checkpoint, else after what the warehouse holds."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final, Literal

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from scorestream.errors import CheckpointError
from scorestream.io.delta.sql import read
from scorestream.io.delta.warehouse import Warehouse
from scorestream.io.kafka.cluster import KafkaCluster, Offsets
from scorestream.streaming.checkpoint import Checkpoint, StreamState
from scorestream.tables import REJECTS, SCORES

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
        CheckpointError: the checkpoint is for another topic, or the topic was recreated since.
    """
    topic = cluster.settings.kafka_input_topic
    topic_id = cluster.topic_id(topic)
    known = checkpoint.read_state()
    if known is not None:
        _refuse_other_topic(known, topic, topic_id)
        if reprocess:
            raise CheckpointError(
                f"--reprocess needs a new checkpoint, {checkpoint.location} has begun already: "
                "give another with --checkpoint"
            )
        return Start(known, may_repeat=True)
    held, complete = ({}, {}) if reprocess else _held_offsets(spark, warehouse, topic)
    _refuse_lost_offsets(held, cluster.end_offsets(topic), topic)
    start = {p: complete[p] + 1 for p in complete}
    state = StreamState(topic=topic, topic_id=topic_id, start=start, held=held)
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
    is known to be complete.
    """
    if warehouse.is_empty(SCORES) and warehouse.is_empty(REJECTS):
        return {}, {}
    stored = _stored_offsets(spark, warehouse, topic)
    newest = stored.agg(F.max(F.struct("at", "run_id", "batch_id"))).first()
    if newest is None or newest[0] is None:
        return {}, {}
    run_id, batch_id = newest[0].run_id, newest[0].batch_id
    complete = (F.col("run_id") != run_id) | (F.col("batch_id") != batch_id)
    last = stored.groupBy("source_partition").agg(
        F.max("source_offset"), F.max(F.when(complete, F.col("source_offset")))
    )
    rows = last.collect()
    return {p: held for p, held, _ in rows}, {p: done for p, _, done in rows if done is not None}


def _stored_offsets(spark: SparkSession, warehouse: Warehouse, topic: str) -> DataFrame:
    """(run_id, batch_id, source_partition, source_offset, at) of every message of the topic."""
    columns = ("run_id", "batch_id", "source_partition", "source_offset")
    of_topic = F.col("source_topic") == topic
    scores = read(spark, warehouse, SCORES).where(of_topic)
    rejects = read(spark, warehouse, REJECTS).where(of_topic)
    return scores.select(*columns, F.col("scored_at").alias("at")).unionAll(
        rejects.select(*columns, F.col("rejected_at").alias("at"))
    )
