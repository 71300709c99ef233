"""`backfill_scores`: plan, score chunk by chunk, commit each chunk once."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from pyspark.sql import SparkSession

from scorestream.backfill.lines import LinesSplit
from scorestream.backfill.planning import BackfillOptions, Item, Plan, Planner
from scorestream.backfill.progress import Progress
from scorestream.backfill.publishing import Publishing
from scorestream.configuration import load_scoring_model
from scorestream.core.pipeline import ScoringModel
from scorestream.incremental import Piece, score_pieces, split_by_wallet, write_increments
from scorestream.io.delta.lookup import WalletFile
from scorestream.io.delta.warehouse import Warehouse
from scorestream.io.filesystem import remove_folder
from scorestream.io.kafka.cluster import KafkaCluster
from scorestream.locks import exclusive_lock
from scorestream.reference_data import current_reference, keep_copy
from scorestream.rows import BatchFacts
from scorestream.scoring import ScoringReport, commit_files, write_scored
from scorestream.session import build_session
from scorestream.settings import Settings
from scorestream.tables import SCORES
from scorestream.tasks import run_exchange, run_tasks
from scorestream.version import code_version


def run_backfill(options: BackfillOptions, settings: Settings) -> None:
    """Score historical wallets, and say on stdout how many.

    1. plan: what the run id stands for, or a new plan for a new one
    2. score and commit the chunks that are not committed yet, each in a transaction of the run,
       and publish them if that was asked for

    Raises:
        ScorestreamError: no such input, or a run id that stands for another backfill.
    """
    run_id = options.run_id or uuid.uuid4().hex
    location = f"{settings.warehouse}/_checkpoints/backfill_scores/{run_id}"
    with exclusive_lock(f"{location}.json"):
        if options.publish is not None:
            KafkaCluster(settings).ensure_topics()
        warehouse = Warehouse(settings.warehouse)
        warehouse.create_tables()
        reference = current_reference(settings, warehouse)
        keep_copy(reference, warehouse)
        model = load_scoring_model(
            settings.scorestream_conf, options.scoring, reference.stable_symbols
        )
        spark = build_session("backfill_scores", settings)
        # 1.
        planner = Planner(options, settings, spark, warehouse, model, location)
        plan = planner.plan()
        # 2.
        publishing = (
            Publishing(spark, settings, warehouse, options.publish, f"{location}.published")
            if options.publish is not None
            else None
        )
        _Run(spark, warehouse, model, run_id, settings.keeps_history, publishing).finish(plan)
        remove_folder(planner.folder)


@dataclass(frozen=True)
class _Run:
    spark: SparkSession
    warehouse: Warehouse
    model: ScoringModel
    run_id: str
    keeps_history: bool
    publishing: Publishing | None

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
        print(f"{progress.scores:,} scores, {progress.rejects:,} rejects, run {self.run_id}")

    def _score(self, plan: Plan, items: Sequence[Item], number: int) -> list[ScoringReport]:
        facts = BatchFacts.of(self.run_id, number, time.time(), self.model, code_version())
        # The table's own rows are in the history already.
        history = self.keeps_history and not (plan.ranges or plan.stored)
        work = _ChunkWork(self.warehouse.root, self.model, facts, history)
        lines = [item for item in items if isinstance(item, LinesSplit)]
        if plan.incremental and lines:
            buckets = self.spark.sparkContext.defaultParallelism
            reports = run_exchange(
                self.spark,
                partial(work.split, buckets=buckets),
                lines,
                partial(work.score_increments, files=self.warehouse.wallet_files()),
                buckets,
            )
        else:
            reports = run_tasks(self.spark, work.score, items)
        files = [file for report in reports for file in report.files]
        commit_files(self.warehouse, files, (self.run_id, number))
        # By `scores` the next start knows what is done, also where a chunk had none.
        self.warehouse.mark(SCORES, (f"{self.run_id}/{SCORES.name}", number))
        if self.publishing is not None:
            self.publishing.publish(self.run_id, number, files)
        return reports


@dataclass(frozen=True)
class _ChunkWork:
    """What the tasks do for a chunk."""

    root: str
    model: ScoringModel
    facts: BatchFacts
    history: bool

    def score(self, item: Item) -> ScoringReport:
        """Read, score and write."""
        return write_scored(
            item.score(self.model, self.history), self.root, self.facts, self.history
        )

    def split(self, item: LinesSplit, buckets: int) -> Iterator[tuple[int, Piece]]:
        """Messages that hold what is new, dealt out by wallet."""
        return split_by_wallet(item.pieces(history=True), buckets)

    def score_increments(
        self, pieces: Sequence[Piece], files: Sequence[WalletFile]
    ) -> ScoringReport:
        """Score messages that hold what is new, all of their wallets, and write."""
        increments = score_pieces(pieces, files, self.model, care=None)
        return write_increments(increments, self.root, self.facts)
