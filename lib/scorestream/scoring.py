"""The core as a Spark transform: Kafka-shaped records in, one scored row a record out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql.pandas.types import from_arrow_schema

from scorestream.core import schemas
from scorestream.core.pipeline import ScoringModel, score_messages
from scorestream.tables import SOURCE_COLUMNS

ATTEMPT_HEADER: Final = "scorestream-replay-attempt"

# Beside the core's result: where the record came from, and the raw bytes of rejects only.
SCORED_RECORDS: Final = pa.schema(
    [
        *SOURCE_COLUMNS,
        ("key", pa.binary()),
        ("value", pa.binary()),
        ("attempt", pa.int32()),
        *schemas.SCORED,
    ]
)


def score_records(records: DataFrame, model: ScoringModel, history: bool) -> DataFrame:
    """Score records, one Arrow batch at a time, without a shuffle.

    Args:
        records: columns of Spark's Kafka source: key, value, topic, partition, offset, timestamp,
            headers.
        model: the scoring model; it is shipped to the workers once a task.
        history: whether the exploded transactions come along.

    Returns:
        One row of `SCORED_RECORDS` a record.
    """
    columns = ("key", "value", "topic", "partition", "offset", "timestamp", "headers")
    schema = from_arrow_schema(SCORED_RECORDS)
    return records.select(*columns).mapInArrow(_scorer(model, history), schema)


def _scorer(
    model: ScoringModel, history: bool
) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def score(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            yield from score_batch(batch, model, history).to_batches()

    return score


def score_batch(batch: pa.RecordBatch, model: ScoringModel, history: bool) -> pa.Table:
    """Score one Arrow batch of records; see :func:`score_records`."""
    values = batch["value"]
    scored = score_messages(values.to_pylist(), _as_of(batch["timestamp"]), model, history)
    rejected = scored["reject"].combine_chunks().is_valid()
    columns = {
        "source_topic": batch["topic"],
        "source_partition": batch["partition"],
        "source_offset": batch["offset"],
        "source_timestamp": batch["timestamp"],
        "key": _only(rejected, batch["key"]),
        "value": _only(rejected, values),
        "attempt": _attempts(batch["headers"]),
    } | {name: scored[name] for name in scored.column_names}
    return pa.table([columns[name] for name in SCORED_RECORDS.names], SCORED_RECORDS.names).cast(
        SCORED_RECORDS
    )


def _as_of(timestamps: pa.Array) -> npt.NDArray[np.int64]:
    """Record timestamps as whole unix seconds, floored."""
    micros = timestamps.cast(pa.timestamp("us", "UTC")).cast(pa.int64())
    return np.asarray(micros) // 1_000_000


def _only(flags: pa.BooleanArray, values: pa.Array) -> pa.Array:
    return pc.if_else(flags, values, pa.scalar(None, values.type))


def _attempts(headers: pa.ListArray) -> pa.Array:
    """How often each record was replayed before, from its header; 0 without one."""
    attempts = np.zeros(len(headers), dtype=np.int32)
    given = pc.list_value_length(headers).fill_null(0)
    for position in np.flatnonzero(np.asarray(given)):
        for header in headers[int(position)].as_py():
            if header["key"] == ATTEMPT_HEADER and (header["value"] or b"").isdigit():
                attempts[position] = min(int(header["value"][:9]), 2**31 - 1)
    return pa.array(attempts)
