"""The simplest transform: rows of each message by itself, in one pass of tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pyarrow as pa

from scorestream.infra.config.settings import Settings
from scorestream.infra.delivery.batch import Batch
from scorestream.infra.delivery.stream import Stream
from scorestream.infra.delivery.unpublished_rows import OffsetCodes, record_codes, without_offsets
from scorestream.infra.delta.data_files import DataFile, TableWriter
from scorestream.infra.delta.table import Table
from scorestream.infra.kafka.connection import consumer_options
from scorestream.infra.kafka.consumer import OffsetRange, fetch, split_ranges
from scorestream.infra.kafka.records import Records
from scorestream.infra.spark.heartbeat import report_progress
from scorestream.infra.spark.tasks import run_tasks

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

# Messages and their batch -> rows of each table, with exactly its columns.
ToRows = Callable[[Records, Batch], Mapping[Table, pa.Table]]


class WrittenFiles(msgspec.Struct):
    """What a task reports: the data files that it wrote."""

    files: list[DataFile]


def key_columns(records: Records, batch: Batch) -> dict[str, pa.Array]:
    """The columns `columns.KEYS` of one row for each of n records."""
    n = len(records)
    return {
        "source_topic": records.topics.cast(pa.string()),
        "source_partition": pa.array(records.partitions),
        "source_offset": pa.array(records.offsets),
        "run_id": pa.repeat(batch.run_id, n),
        "batch_id": pa.repeat(pa.scalar(batch.batch_id, pa.int64()), n),
        "generation": pa.repeat(pa.scalar(batch.generation, pa.int32()), n),
    }


@dataclass(frozen=True)
class RecordTransform:
    """Makes rows of each message by itself.

    Attributes:
        stream: the declaration.
        settings: how to reach the broker, and where the warehouse is.
        to_rows: what is made of messages; it is pickled.
    """

    stream: Stream
    settings: Settings
    to_rows: ToRows

    def run(self, spark: SparkSession, batch: Batch) -> list[WrittenFiles]:
        """Read the messages of a batch in tasks, and write rows into data files."""
        work = partial(
            _write_rows,
            batch=batch,
            tables=self.stream.tables,
            to_rows=self.to_rows,
            root=self.settings.warehouse,
            options=consumer_options(self.settings),
        )
        return run_tasks(spark, work, split_ranges(batch.ranges, batch.task_count(spark)))

    def delivered(self, batch: Batch, reports: Sequence[WrittenFiles], seconds: float) -> None:
        """Note nothing."""


def _write_rows(
    ranges: Sequence[OffsetRange],
    *,
    batch: Batch,
    tables: Sequence[Table],
    to_rows: ToRows,
    root: str,
    options: dict[str, Any],
) -> WrittenFiles:
    """In a task."""
    stored = {table: _stored_offsets(batch, table, ranges) for table in tables}
    writers = {table: TableWriter(root, table) for table in tables}
    # Where the first table has a row, the others have theirs.
    for records in _without(fetch(ranges, options), stored[tables[0]]):
        for table, rows in to_rows(records, batch).items():
            writers[table].write(without_offsets(rows, stored[table]))
        report_progress()
    return WrittenFiles([file for writer in writers.values() if (file := writer.close())])


def _stored_offsets(batch: Batch, table: Table, ranges: Sequence[OffsetRange]) -> OffsetCodes:
    if batch.stored is None:
        return np.zeros(0, dtype=np.int64)
    return batch.stored.offsets(table, ranges)


def _without(batches: Iterator[Records], codes: OffsetCodes) -> Iterator[Records]:
    return (records.filter(~np.isin(record_codes(records), codes)) for records in batches)
