"""Delivery of a micro-batch: scored once, into Delta exactly once, to Kafka at least once."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import structlog
from pyspark.errors import PythonException
from pyspark.sql import DataFrame, SparkSession

from scorestream.infra.config.settings import Settings
from scorestream.infra.delta.data_files import DataFile
from scorestream.infra.delta.warehouse import Warehouse
from scorestream.infra.kafka.connection import consumer_options
from scorestream.infra.kafka.consumer import (
    OffsetRange,
    planned_ranges,
    split_ranges,
    task_count,
)
from scorestream.infra.spark.compat import JavaError
from scorestream.infra.spark.isolation import Isolation
from scorestream.infra.spark.remote_errors import marked_errors
from scorestream.infra.spark.tasks import run_exchange, run_tasks, tried_once
from scorestream.wallets.core.pipeline import ScoringModel
from scorestream.wallets.execution.history_lookup import wallet_files
from scorestream.wallets.execution.publishing import PUBLISHED, publish, written_files
from scorestream.wallets.execution.scoring_task import ScoringReport, commit_files
from scorestream.wallets.execution.table_rows import BatchFacts
from scorestream.wallets.predictors.active_models import ActiveModels
from scorestream.wallets.schema.tables import SCORES
from scorestream.wallets.stream.batch_tasks import BatchWork
from scorestream.wallets.stream.coverage import Coverage, spans_of
from scorestream.wallets.stream.metrics import BatchSummary
from scorestream.wallets.stream.start import Start
from scorestream.wallets.stream.stored_offsets import Stored, in_ranges

log = structlog.get_logger()

# So many messages, and the history of their wallets, are held in memory at once.
MAX_RECORDS_PER_BUCKET = 50_000


@dataclass
class Delivery:
    """What is done with every micro-batch (Spark's ``foreachBatch``).

    Only what is not delivered yet is looked at. That goes through five steps; their order is what
    makes a crash harmless:

    1. Find out which versions of the registered models serve. Score once, in the tasks: fetch what
       Spark planned, score it, apply the models, write the rows of all tables into data files that
       nobody knows of yet. Then make sure that the topic is the one that the offsets are of, and
       that no other stream has taken over.
    2. Commit the files of transactions, rejects and scores to Delta, in a transaction of the run
       and batch.
    3. Publish to Kafka what the committed files hold.
    4. Record in `coverage` that the offsets are delivered.
    5. Spark commits the checkpoint when this returns; then the listener commits the consumer
       group's offsets.

    What was stored beyond the coverage when the stream started may have been cut off between any of
    these, under whatever run. There the stored rows decide, whatever has changed since: only
    offsets that neither `scores` nor `rejects` holds are scored, and Kafka gets the stored rows.
    """

    settings: Settings
    spark: SparkSession
    warehouse: Warehouse
    model: ScoringModel
    code_version: str
    start: Start
    gate: Callable[[SparkSession], None]
    report: Callable[[BatchSummary], None]
    check: Callable[[], None]
    active_models: ActiveModels
    coverage: Coverage = field(init=False)

    def __post_init__(self) -> None:
        self.coverage = self.start.coverage

    def __call__(self, records: DataFrame, batch_id: int) -> None:
        """Deliver one micro-batch; raising leaves it to be repeated by the next start."""
        with marked_errors():
            self.gate(self.spark)
            run_id = self.spark.sparkContext.getLocalProperty("sql.streaming.queryId")
            self.deliver(planned_ranges(records), str(run_id), batch_id)

    def deliver(self, ranges: Sequence[OffsetRange], run_id: str, batch_id: int) -> None:
        """Deliver the messages of ranges as one batch."""
        began = time.monotonic()
        started = time.time()
        models = self.active_models.refresh()
        generation = self.coverage.generation
        facts = BatchFacts.of(
            run_id,
            batch_id,
            started,
            self.model,
            code_version=self.code_version,
            models=models,
            generation=generation,
        )
        lacking = self._begin(ranges)
        stored = self.start.uncovered.of(lacking)
        # 1.
        reports = self._score(lacking, facts, stored) if lacking else []
        self.check()
        # 2.
        files = [file for report in reports for file in report.files]
        self._commit(files, facts)
        # 3.
        self._publish(files, lacking, stored)
        # 4.
        self._record(ranges, facts)
        self.active_models.record_uses(use for report in reports for use in report.models)
        self.report(BatchSummary.of(reports, batch_id, time.monotonic() - began))

    def _begin(self, ranges: Sequence[OffsetRange]) -> list[OffsetRange]:
        """What of the ranges is not delivered; where new partitions begin is recorded first."""
        begun = self.coverage.begun(ranges)
        if begun != self.coverage:
            self._write(begun)
        # Where a gap would be left, nothing is done.
        self.coverage.with_delivered(spans_of(ranges))
        return self.coverage.lacking(ranges)

    def _commit(self, files: Sequence[DataFile], facts: BatchFacts) -> None:
        # What a repetition writes is only what lacked, which another commit of the same batch does
        # not hold; each attempt has the number of another record.
        attempt = (self.coverage.attempts, self.coverage.sequence)
        commit_files(self.warehouse, files, (facts.run_id, facts.batch_id), attempt)
        if not files:
            # By its number the next start knows the tables for those of the checkpoint.
            self.warehouse.mark(SCORES, (f"{facts.run_id}/{SCORES.name}", facts.batch_id))

    def _record(self, ranges: Sequence[OffsetRange], facts: BatchFacts) -> None:
        delivered = self.coverage.with_delivered(spans_of(ranges))
        if delivered == self.coverage:
            return
        self._write(delivered.after(facts.run_id, facts.batch_id))

    def _write(self, coverage: Coverage) -> None:
        tables = self.start.records.tables(coverage.generation)
        self.coverage = coverage.next(tables, self.start.uncovered.is_delivered(coverage))
        self.start.records.write(self.coverage)

    def _score(
        self, ranges: Sequence[OffsetRange], facts: BatchFacts, stored: Stored | None
    ) -> list[ScoringReport]:
        """Score in tasks; where Spark does not retry one that crashed, again in isolation."""
        try:
            return self._score_once(ranges, facts, stored, Isolation.ON_RETRY)
        except (JavaError, PythonException) as error:
            if not tried_once(error):
                raise
            log.warning("batch_again_with_care", batch=facts.batch_id)
        return self._score_once(ranges, facts, stored, Isolation.ALWAYS)

    def _score_once(
        self,
        ranges: Sequence[OffsetRange],
        facts: BatchFacts,
        stored: Stored | None,
        isolation: Isolation,
    ) -> list[ScoringReport]:
        work = BatchWork(
            options=consumer_options(self.settings),
            root=self.warehouse.root,
            model=self.model,
            facts=facts,
            include_transactions=self.settings.keeps_history,
            stored=stored,
            isolation=isolation,
            message_timeout=self.settings.message_seconds,
        )
        tasks = self._tasks(ranges)
        items = split_ranges(ranges, tasks)
        if not self.settings.is_incremental:
            return run_tasks(self.spark, work.score, items)
        buckets = max(tasks, sum(map(len, ranges)) // MAX_RECORDS_PER_BUCKET)
        return run_exchange(
            self.spark,
            items,
            split=partial(work.split, buckets=buckets),
            work=partial(work.score_increments, ranges=ranges, files=wallet_files(self.warehouse)),
            buckets=buckets,
        )

    def _tasks(self, ranges: Sequence[OffsetRange]) -> int:
        return task_count(sum(map(len, ranges)), self.spark.sparkContext.defaultParallelism)

    def _publish(
        self,
        files: Sequence[DataFile],
        ranges: Sequence[OffsetRange],
        stored: Stored | None,
    ) -> None:
        written = written_files(self.warehouse, files)
        if stored:
            held = [(table, uri) for table in PUBLISHED for uri in stored.files[table]]
            conditions = (stored.condition, in_ranges(ranges))
            publish(self.spark, self.settings, [*held, *written], conditions=conditions)
        else:
            publish(self.spark, self.settings, written)
