"""Delivery of a micro-batch: scored once, into Delta exactly once, to Kafka at least once."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import structlog
from py4j.protocol import Py4JJavaError
from pyspark.errors import PythonException
from pyspark.sql import DataFrame, SparkSession

from scorestream.core.pipeline import ScoringModel
from scorestream.io.delta.files import Condition, DataFile
from scorestream.io.delta.warehouse import Warehouse
from scorestream.io.kafka.connection import consumer_options
from scorestream.io.kafka.fetching import OffsetRange, planned_ranges, split_ranges, task_count
from scorestream.scoring.publishing import publish, stored_files, written_files
from scorestream.scoring.rows import BatchFacts
from scorestream.scoring.task import ScoringReport, commit_files
from scorestream.serving.serving import Serving
from scorestream.settings import Settings
from scorestream.spark.careful import Care
from scorestream.spark.tasks import run_exchange, run_tasks, tried_once
from scorestream.streaming.metrics import BatchSummary
from scorestream.streaming.start import Start
from scorestream.streaming.stored import Stored, in_ranges
from scorestream.streaming.work import BatchWork
from scorestream.tables import SCORES

log = structlog.get_logger()

# So many messages, and the history of their wallets, are held in memory at once.
MOST_RECORDS_A_BUCKET = 50_000


@dataclass
class Delivery:
    """What is done with every micro-batch (Spark's ``foreachBatch``).

    Each batch goes through four steps; their order is what makes a crash harmless:

    1. Find out which versions of the registered models serve. Score once, in the tasks: fetch what
       Spark planned, score it, apply the models, write the rows of all tables into data files that
       nobody knows of yet. Then make sure that the topic is the one that the offsets are of.
    2. Commit the files of transactions, rejects and scores to Delta, in a transaction of the run
       and batch.
    3. Publish to Kafka what the committed files hold.
    4. Spark commits the checkpoint when this returns; then the listener commits the consumer
       group's offsets.

    The first batch after a restart may be the repetition of one that was cut off, and so may every
    batch of a new checkpoint that begins below what the warehouse holds. There the stored rows
    decide, whatever has changed since: only offsets that neither `scores` nor `rejects` holds are
    scored, and Kafka gets the stored rows.
    """

    settings: Settings
    spark: SparkSession
    warehouse: Warehouse
    model: ScoringModel
    code_version: str
    start: Start
    gate: Callable[[SparkSession], None]
    report: Callable[[BatchSummary], None]
    check_topic: Callable[[], None]
    serving: Serving
    _first: bool = field(default=True, init=False)

    def __call__(self, records: DataFrame, batch_id: int) -> None:
        """Deliver one micro-batch; raising leaves it to be repeated by the next start."""
        self.gate(self.spark)
        run_id = self.spark.sparkContext.getLocalProperty("sql.streaming.queryId")
        self.deliver(planned_ranges(records), str(run_id), batch_id)

    def deliver(self, ranges: Sequence[OffsetRange], run_id: str, batch_id: int) -> None:
        """Deliver the messages of ranges as one batch."""
        began = time.monotonic()
        started = time.time()
        models = self.serving.refreshed()
        facts = BatchFacts.of(run_id, batch_id, started, self.model, self.code_version, models)
        may_be_stored = (self._first and self.start.may_repeat) or self._overlaps(ranges)
        stored = Stored.of(self.warehouse, self._ours(facts)) if may_be_stored else None
        # 1.
        reports = self._score(ranges, facts, stored)
        self.check_topic()
        # 2.
        files = [file for report in reports for file in report.files]
        # What a repetition writes is only what lacked, which another commit of the same batch does
        # not hold; a further crash is repeated likewise.
        commit_files(self.warehouse, files, (run_id, batch_id), repeated=stored is not None)
        if not files:
            # By its number the next start knows the tables for those of the checkpoint.
            self.warehouse.mark(SCORES, (f"{run_id}/{SCORES.name}", batch_id))
        # 3.
        self._publish(files, ranges, facts, stored)
        self._first = False
        self.serving.learn(use for report in reports for use in report.models)
        self.report(BatchSummary.of(reports, batch_id, time.monotonic() - began))

    def _score(
        self, ranges: Sequence[OffsetRange], facts: BatchFacts, stored: Stored | None
    ) -> list[ScoringReport]:
        """Score in tasks; a message that ends them is found with care, which a repetition takes."""
        care = Care(self.settings.message_seconds)
        try:
            return self._score_once(ranges, facts, stored, care)
        except (Py4JJavaError, PythonException) as error:
            if not tried_once(error):
                raise
            log.warning("batch_again_with_care", batch=facts.batch_id)
        return self._score_once(ranges, facts, stored, replace(care, at_once=True))

    def _score_once(
        self, ranges: Sequence[OffsetRange], facts: BatchFacts, stored: Stored | None, care: Care
    ) -> list[ScoringReport]:
        work = BatchWork(
            consumer_options(self.settings),
            self.warehouse.root,
            self.model,
            facts,
            self.settings.keeps_history,
            stored,
            care,
        )
        tasks = self._tasks(ranges)
        items = split_ranges(ranges, tasks)
        if not self.settings.is_incremental:
            return run_tasks(self.spark, work.score, items)
        buckets = max(tasks, sum(map(len, ranges)) // MOST_RECORDS_A_BUCKET)
        return run_exchange(
            self.spark,
            partial(work.split, buckets=buckets),
            items,
            partial(work.score_increments, ranges=ranges, files=self.warehouse.wallet_files()),
            buckets,
        )

    def _tasks(self, ranges: Sequence[OffsetRange]) -> int:
        return task_count(sum(map(len, ranges)), self.spark.sparkContext.defaultParallelism)

    def _publish(
        self,
        files: Sequence[DataFile],
        ranges: Sequence[OffsetRange],
        facts: BatchFacts,
        stored: Stored | None,
    ) -> None:
        if stored:
            ours = self._ours(facts)
            held = stored_files(self.warehouse, ours)
            publish(self.spark, self.settings, held, (ours, in_ranges(ranges)))
        else:
            publish(self.spark, self.settings, written_files(self.warehouse, files))

    def _overlaps(self, ranges: Sequence[OffsetRange]) -> bool:
        """Whether the batch has offsets at or below those that the warehouse held at the start."""
        held = self.start.state.held
        return any(r.start <= held.get(r.partition, -1) for r in ranges)

    def _ours(self, facts: BatchFacts) -> Condition:
        """Condition on rows of this batch, or of the offsets held before this run."""
        state = self.start.state
        held = [
            OffsetRange(state.topic, p, state.start.get(p, 0), last + 1)
            for p, last in state.held.items()
        ]
        batch = [("run_id", "=", facts.run_id), ("batch_id", "=", facts.batch_id)]
        return [batch, *in_ranges(held)]
