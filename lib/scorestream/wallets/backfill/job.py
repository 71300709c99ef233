"""`backfill_scores`: plan, score chunk by chunk, commit each chunk once."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from pyspark.errors import PythonException
from pyspark.sql import SparkSession

from scorestream.infra.config.settings import Settings
from scorestream.infra.delta.warehouse import Warehouse
from scorestream.infra.kafka.cluster import KafkaCluster
from scorestream.infra.spark.compat import JavaError
from scorestream.infra.spark.process_isolation import Isolation
from scorestream.infra.spark.session import build_session
from scorestream.infra.spark.tasks import run_exchange, run_tasks, tried_once
from scorestream.infra.spark.watchdog import Watchdog
from scorestream.infra.storage.filesystem import remove_folder
from scorestream.infra.storage.locks import exclusive_lock
from scorestream.infra.version import code_version
from scorestream.wallets.backfill.json_lines import LinesSplit
from scorestream.wallets.backfill.planning import (
    BackfillOptions,
    Item,
    Plan,
    Planner,
)
from scorestream.wallets.backfill.progress import Progress
from scorestream.wallets.backfill.publishing import Publishing
from scorestream.wallets.core.scoring import Scorings
from scorestream.wallets.execution.configured_scoring import build_scorings
from scorestream.wallets.execution.decoded_batch import DecodedBatch, split_by_wallet
from scorestream.wallets.execution.history_lookup import WalletFile, wallet_files
from scorestream.wallets.execution.incremental import score_with_history, write_increments
from scorestream.wallets.execution.scoring_task import ScoringReport, commit_files, write_scored
from scorestream.wallets.execution.table_rows import BatchFacts
from scorestream.wallets.predictors.batch_models import BatchModel
from scorestream.wallets.predictors.pinned_models import PinnedModels
from scorestream.wallets.reference.snapshots import current_reference, keep_copy
from scorestream.wallets.schema.tables import SCORES
from scorestream.wallets.schema.views import CATALOG


def run_backfill(options: BackfillOptions, settings: Settings) -> None:
    """Score historical wallets, and say on stdout how many.

    1. Plan: what the run id stands for, or a new plan for a new one.
    2. Score and commit the chunks that are not committed yet, each in a transaction of the run,
       and publish them if that was asked for.

    Raises:
        ScorestreamError: no such input, or a run id that stands for another backfill.
    """
    run_id = options.run_id or uuid.uuid4().hex
    location = f"{settings.warehouse}/_checkpoints/backfill_scores/{run_id}"
    with exclusive_lock(f"{location}.json"):
        if options.publish is not None:
            KafkaCluster(settings).ensure_topics()
        warehouse = Warehouse(settings.warehouse, CATALOG)
        warehouse.create_tables()
        reference = current_reference(settings, warehouse)
        keep_copy(reference, warehouse)
        scorings = build_scorings(
            settings.scorestream_conf, options.scorings, reference.stable_symbols
        )
        spark = build_session("backfill_scores", settings)
        # 1. Plan.
        pinned = PinnedModels(settings)
        planner = Planner(
            options=options,
            settings=settings,
            spark=spark,
            warehouse=warehouse,
            scorings=scorings,
            location=location,
            versions=pinned.pin,
        )
        plan = planner.plan()
        models = pinned.prepare(plan.models)
        # 2. Score, commit and publish the chunks that are not committed yet.
        publishing = (
            Publishing(spark, settings, warehouse, options.publish, f"{location}.published")
            if options.publish is not None
            else None
        )
        with Watchdog(spark, settings.scorestream_task_seconds, f"{location}.progress"):
            _Run(
                spark=spark,
                warehouse=warehouse,
                scorings=scorings,
                run_id=run_id,
                keeps_history=settings.keeps_history,
                publishing=publishing,
                models=models,
            ).finish(plan)
        remove_folder(planner.folder)


@dataclass(frozen=True)
class _Run:
    spark: SparkSession
    warehouse: Warehouse
    scorings: Scorings
    run_id: str
    keeps_history: bool
    publishing: Publishing | None
    models: tuple[BatchModel, ...]

    def finish(self, plan: Plan) -> None:
        """Score, commit and publish what is not yet."""
        chunks = plan.chunks()
        done = self.warehouse.transaction_version(SCORES, f"{self.run_id}/{SCORES.name}")
        first = 0 if done is None else done + 1
        sizes = [sum(item.size for item in chunk) for chunk in chunks]
        if self.publishing is not None:
            self.publishing.catch_up(self.run_id, first)
        with Progress(sum(sizes), self.run_id) as progress:
            progress.skip(sum(sizes[:first]))
            for number in range(first, len(chunks)):
                progress.advance(sizes[number], self._score(plan, chunks[number], number))
        print(f"{progress.summary}, run {self.run_id}")

    def _score(self, plan: Plan, items: Sequence[Item], number: int) -> list[ScoringReport]:
        facts = BatchFacts(
            self.run_id,
            number,
            time.time(),
            code_version=code_version(),
            models=self.models,
        )
        # The table's own rows are in the history already.
        history = self.keeps_history and not (plan.ranges or plan.stored)
        work = _ChunkWork(self.warehouse.root, self.scorings, facts, history)
        reports = self._done(plan, items, work)
        files = [file for report in reports for file in report.files]
        commit_files(self.warehouse, files, (self.run_id, number))
        # By `scores` the next start knows what is done, also where a chunk had none.
        self.warehouse.mark(SCORES, (f"{self.run_id}/{SCORES.name}", number))
        if self.publishing is not None:
            self.publishing.publish(self.run_id, number, files)
        return reports

    def _done(self, plan: Plan, items: Sequence[Item], work: _ChunkWork) -> list[ScoringReport]:
        """Do a chunk's work; again in isolation where a model may have crashed its only attempt."""
        try:
            return self._done_once(plan, items, work)
        except (JavaError, PythonException) as error:
            if not (self.models and tried_once(error)):
                raise
        return self._done_once(plan, items, replace(work, isolation=Isolation.ALWAYS))

    def _done_once(
        self, plan: Plan, items: Sequence[Item], work: _ChunkWork
    ) -> list[ScoringReport]:
        lines = [item for item in items if isinstance(item, LinesSplit)]
        if plan.incremental and lines:
            buckets = self.spark.sparkContext.defaultParallelism
            return run_exchange(
                self.spark,
                lines,
                split=partial(work.split, buckets=buckets),
                work=partial(work.score_increments, files=wallet_files(self.warehouse)),
                buckets=buckets,
            )
        return run_tasks(self.spark, work.score, items)


@dataclass(frozen=True)
class _ChunkWork:
    """What the tasks do for a chunk.

    Attributes:
        isolation: when the models run in an isolated process.
    """

    root: str
    scorings: Scorings
    facts: BatchFacts
    include_transactions: bool
    isolation: Isolation = Isolation.ON_RETRY

    def score(self, item: Item) -> ScoringReport:
        """Read, score and write."""
        scored = item.score(self.scorings, include_transactions=self.include_transactions)
        return write_scored(
            scored,
            self.root,
            self.facts,
            include_transactions=self.include_transactions,
            isolation=self.isolation,
        )

    def split(self, item: LinesSplit, buckets: int) -> Iterator[tuple[int, DecodedBatch]]:
        """Messages that hold what is new, split by wallet."""
        return split_by_wallet(item.decoded_batches(), buckets)

    def score_increments(
        self, batches: Sequence[DecodedBatch], files: Sequence[WalletFile]
    ) -> ScoringReport:
        """Score messages that hold what is new, all of their wallets, and write."""
        increments = score_with_history(batches, files, self.scorings)
        return write_increments(increments, self.root, self.facts, isolation=self.isolation)
