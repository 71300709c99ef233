"""Delivery of a micro-batch: into Delta exactly once, to Kafka at least once."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic

from pyspark.sql import DataFrame, SparkSession

from scorestream.infra.config.settings import Settings
from scorestream.infra.delivery.batch import Batch, ReportT, Transform
from scorestream.infra.delivery.commit import commit_batch
from scorestream.infra.delivery.coverage import Coverage, spans_of
from scorestream.infra.delivery.publishing import publish, written_files
from scorestream.infra.delivery.start import Start
from scorestream.infra.delivery.stream import Stream
from scorestream.infra.delivery.unpublished_rows import in_ranges
from scorestream.infra.delta.data_files import DataFile
from scorestream.infra.delta.warehouse import Warehouse
from scorestream.infra.kafka.consumer import OffsetRange, planned_ranges
from scorestream.infra.spark.remote_errors import marked_errors


@dataclass(kw_only=True)
class Delivery(Generic[ReportT]):
    """What is done with every micro-batch (Spark's ``foreachBatch``).

    Only what is not delivered yet is looked at. That goes through five steps; their order is what
    makes a crash harmless:

    1. Have the tasks fetch what Spark planned, transform it, and write the rows of all tables into
       data files that no table knows of yet. Then make sure that the topic is the one that the
       offsets are of, and that no other stream has taken over.
    2. Commit the files to Delta, in a transaction of the run and batch.
    3. Publish to Kafka what the committed files hold.
    4. Record in the table of coverage that the offsets are delivered.
    5. Spark commits the checkpoint when this returns; then the listener commits the consumer
       group's offsets.

    What was stored beyond the coverage when the stream started may have been cut off between any of
    these, under whatever run. There the stored rows decide, whatever has changed since: only
    what is not stored is written, and Kafka gets the stored rows.

    Attributes:
        spark: the session.
        settings: how to reach the broker.
        start: what the stream goes by.
        transform: what becomes of the messages.
        before_batch: called first; it may not return, where the stream is to stop.
        before_commit: called between steps 1 and 2; raises where nothing may be committed.
        coverage: what is delivered so far.
    """

    spark: SparkSession
    settings: Settings
    start: Start
    transform: Transform[ReportT]
    before_batch: Callable[[SparkSession], None] = lambda _: None
    before_commit: Callable[[], None] = lambda: None
    coverage: Coverage = field(init=False)

    def __post_init__(self) -> None:
        self.coverage = self.start.coverage

    def __call__(self, records: DataFrame, batch_id: int) -> None:
        """Deliver one micro-batch; raising leaves it to be repeated by the next start."""
        with marked_errors():
            self.before_batch(self.spark)
            run_id = self.spark.sparkContext.getLocalProperty("sql.streaming.queryId")
            self.deliver(planned_ranges(records), str(run_id), batch_id)

    def deliver(self, ranges: Sequence[OffsetRange], run_id: str, batch_id: int) -> None:
        """Deliver the messages of ranges as one batch."""
        began = time.monotonic()
        batch = self._begin(ranges, run_id, batch_id)
        # 1. Transform
        reports = self.transform.run(self.spark, batch) if batch.ranges else []
        self.before_commit()
        # 2. Commit
        files = [file for report in reports for file in report.files]
        self._commit(files, batch)
        # 3. Publish
        self._publish(files, batch)
        # 4. Record
        self._record(ranges, batch)
        self.transform.delivered(batch, reports, time.monotonic() - began)

    def _begin(self, ranges: Sequence[OffsetRange], run_id: str, batch_id: int) -> Batch:
        """The batch of what is not delivered; where new partitions begin is recorded first."""
        started_at = time.time()
        known = self.coverage.with_partitions(ranges)
        if known != self.coverage:
            self._write(known)
        # Where a gap would be left, nothing is done.
        self.coverage.with_delivered(spans_of(ranges))
        left = self.coverage.undelivered(ranges)
        stored = self.start.unpublished.within(left)
        return Batch(run_id, batch_id, self.coverage.generation, started_at, left, stored)

    def _commit(self, files: Sequence[DataFile], batch: Batch) -> None:
        # What a repetition writes is only what was not stored, which another commit of the same
        # batch does not hold; each attempt has the number of another record.
        attempt = (self.coverage.attempts, self.coverage.sequence)
        tables = self._stream.tables
        commit_batch(
            self._warehouse, tables, files, (batch.run_id, batch.batch_id), attempt=attempt
        )
        if not files:
            # By its number the next start knows the tables for those of the checkpoint.
            application = f"{batch.run_id}/{tables[0].name}"
            self._warehouse.mark(tables[0], (application, batch.batch_id))

    def _publish(self, files: Sequence[DataFile], batch: Batch) -> None:
        publications = self._stream.publications
        written = written_files(self._warehouse, publications, files)
        if batch.stored is None:
            publish(self.spark, self.settings, written)
            return
        stored = batch.stored.files
        held = [(each, uri) for each in publications for uri in stored[each.table]]
        conditions = (batch.stored.condition, in_ranges(batch.ranges))
        publish(self.spark, self.settings, [*held, *written], conditions=conditions)

    def _record(self, ranges: Sequence[OffsetRange], batch: Batch) -> None:
        delivered = self.coverage.with_delivered(spans_of(ranges))
        if delivered != self.coverage:
            self._write(delivered.after(batch.run_id, batch.batch_id))

    def _write(self, coverage: Coverage) -> None:
        records = self.start.records
        settled = self.start.unpublished.are_delivered(coverage)
        self.coverage = coverage.next(records.tables(coverage.generation), settled=settled)
        records.write(self.coverage)

    @property
    def _warehouse(self) -> Warehouse:
        return self.start.records.warehouse

    @property
    def _stream(self) -> Stream:
        return self.start.records.stream
