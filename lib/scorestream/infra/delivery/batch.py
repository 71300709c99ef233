"""A micro-batch, and what a stream does with its messages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

from scorestream.infra.delivery.unpublished_rows import StoredRows
from scorestream.infra.delta.data_files import DataFile
from scorestream.infra.kafka.consumer import OffsetRange, task_count

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@dataclass(frozen=True)
class Batch:
    """A micro-batch.

    Attributes:
        run_id: the query's id.
        batch_id: its number in the query.
        generation: which pass over the topic it is.
        started_at: unix seconds.
        ranges: the planned offsets that are not delivered yet.
        stored: rows of a batch that was cut off, which may be of these offsets; None: there are
            none.
    """

    run_id: str
    batch_id: int
    generation: int
    started_at: float
    ranges: Sequence[OffsetRange]
    stored: StoredRows | None = None

    def task_count(self, spark: SparkSession) -> int:
        """How many tasks do it."""
        return task_count(sum(map(len, self.ranges)), spark.sparkContext.defaultParallelism)


class Report(Protocol):
    """What a task reports."""

    @property
    def files(self) -> Sequence[DataFile]:
        """The data files that it wrote, not committed yet."""


ReportT = TypeVar("ReportT", bound=Report)


class Transform(Protocol[ReportT]):
    """What a stream does with its messages: the part that is its own."""

    def run(self, spark: SparkSession, batch: Batch) -> Sequence[ReportT]:
        """Read the messages of a batch in tasks, and write rows into data files.

        Rows that `batch.stored` holds are left out. A task may run twice, and so may a batch: its
        files count only when they are committed.
        """

    def delivered(self, batch: Batch, reports: Sequence[ReportT], seconds: float) -> None:
        """Take note of a batch that is committed, published and recorded.

        Args:
            batch: the batch.
            reports: what its tasks have reported; nothing where all was delivered before.
            seconds: how long it took.
        """
