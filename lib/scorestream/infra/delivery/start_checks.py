"""Whether checkpoint, topic and tables belong together."""

from __future__ import annotations

from typing import Final

from scorestream.infra.delivery.checkpoint import Checkpoint, StreamState
from scorestream.infra.delivery.stream import Stream
from scorestream.infra.delta.warehouse import Warehouse
from scorestream.infra.errors import CheckpointError
from scorestream.infra.kafka.cluster import KafkaCluster

# As long as Spark waits when it plans a batch.
PATIENCE_SECONDS: Final = 60.0


def refuse_recreated(
    cluster: KafkaCluster, state: StreamState, seconds: float = PATIENCE_SECONDS
) -> None:
    """Refuse a topic that is not the one that the checkpoint began with.

    A topic that was recreated and has grown past the old offsets looks like the old one to all
    who only ask for offsets.

    Args:
        cluster: with the topic.
        state: what the checkpoint was started for.
        seconds: how long to wait for an answer.

    Raises:
        CheckpointError: it was recreated.
        LostOffsetsError: it was deleted.
        KafkaError: the broker does not answer.
    """
    if state.topic_id != cluster.topic_id(state.topic, seconds):
        raise CheckpointError(
            f"topic {state.topic} was recreated since the checkpoint began: its offsets count "
            "anew; use another --checkpoint and --reprocess"
        )


def refuse_other_topic(state: StreamState, stream: Stream) -> None:
    """Refuse a checkpoint of another topic.

    Raises:
        CheckpointError: with both names.
    """
    if state.topic != stream.topic:
        raise CheckpointError(
            f"the checkpoint is for topic {state.topic}, {stream.topic_setting} is {stream.topic}: "
            "use another --checkpoint"
        )


def table_ids(warehouse: Warehouse, stream: Stream) -> dict[str, str]:
    """The ids of the tables that a batch is committed to, by name."""
    return {table.name: warehouse.table_id(table) for table in stream.tables}


def refuse_other_tables(state: StreamState, warehouse: Warehouse, stream: Stream) -> None:
    """Refuse tables that are not those the checkpoint was begun with, wherever they are.

    Raises:
        CheckpointError: with their names; none of a checkpoint of an earlier version.
    """
    tables = table_ids(warehouse, stream)
    others = [name for name, known in state.tables.items() if tables.get(name) != known]
    if others:
        raise CheckpointError(
            f"{', '.join(others)} in {warehouse.root} is another table than the checkpoint was "
            "begun with: set SCORESTREAM_WAREHOUSE to that one, or use a new --checkpoint, which "
            "starts after what this warehouse holds"
        )


def refuse_older_copies(
    state: StreamState, checkpoint: Checkpoint, warehouse: Warehouse, stream: Stream
) -> None:
    """Refuse a checkpoint that is behind the tables, and tables that are behind the checkpoint.

    A table that alone is behind looks like one for which there were no rows.

    Raises:
        CheckpointError: one of the two is an older copy, or a file of the checkpoint is damaged.
    """
    progress = checkpoint.progress()
    if progress is None:
        return
    held = _newest_batch(warehouse, stream, progress.run_id)
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


def _newest_batch(warehouse: Warehouse, stream: Stream, run_id: str) -> int:
    """The newest batch of a run that any table has taken; -1: none."""
    versions = [
        warehouse.transaction_version(table, f"{run_id}/{table.name}") for table in stream.tables
    ]
    return max((version for version in versions if version is not None), default=-1)
