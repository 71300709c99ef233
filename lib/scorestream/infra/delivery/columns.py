"""Columns that every stream's tables have, and the table of coverage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import pyarrow as pa

from scorestream.infra.delta.table import NO_IDENTIFIERS, Column, Table

# Which message a row is of, and which batch wrote it.
KEY_COLUMNS: Final = (
    Column("source_topic", pa.string(), "Kafka topic", statistics=True),
    Column("source_partition", pa.int32(), "Kafka partition", statistics=True),
    Column("source_offset", pa.int64(), "Kafka offset", statistics=True),
    Column("run_id", pa.string(), "id of the streaming query", statistics=True),
    Column("batch_id", pa.int64(), "micro-batch of the run", statistics=True),
    Column(
        "generation",
        pa.int32(),
        "which pass over the topic wrote it: 0, and one more with each --reprocess",
        statistics=True,
    ),
)
KEYS: Final = pa.schema([(column.name, column.type) for column in KEY_COLUMNS])
RECORDED_AT: Final = Column(
    "recorded_at",
    pa.timestamp("us", tz="UTC"),
    "when it was recorded; nothing goes by it",
)
# The number of a record of coverage: the generation first.
RECORD_NUMBER: Final = ("generation", "sequence")


def coverage_table(
    name: str, tables: Sequence[Table], keys: Sequence[Column] = KEY_COLUMNS
) -> Table:
    """The table in which a stream records what it has delivered.

    Args:
        name: of the table.
        tables: those that the stream writes to.
        keys: the columns `KEYS` as the stream describes them.
    """
    key = {column.name: column for column in keys}
    return Table.of_columns(
        name,
        (
            key["source_topic"],
            Column(
                "topic_id",
                pa.string(),
                "the cluster's id of the topic, another one after it was recreated",
            ),
            key["generation"],
            Column(
                "sequence",
                pa.int64(),
                "number of the record; the greatest of a generation counts",
                statistics=True,
            ),
            key["source_partition"],
            Column("start_offset", pa.int64(), "where the stream began in the partition"),
            Column(
                "end_offset", pa.int64(), "all offsets before this one are stored and published"
            ),
            key["run_id"],
            key["batch_id"],
            *_state_columns([table.name for table in tables]),
            Column(
                "settled",
                pa.bool_(),
                "whether all that the tables hold of the generation was delivered then",
            ),
            RECORDED_AT,
        ),
        comment="which offsets of the input topic are stored and published: one record a batch",
        identifiers=NO_IDENTIFIERS,
    )


def _state_columns(names: Sequence[str]) -> list[Column]:
    """How far each table was."""
    versions = [
        Column(f"{name}_version", pa.int64(), f"version of {name} when it was recorded")
        for name in names
    ]
    attempts = [
        Column(
            f"{name}_attempt",
            pa.int64(),
            f"sequence by which {name} took the newest batch of the pass",
        )
        for name in names
    ]
    return [*versions, *attempts]
