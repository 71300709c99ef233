"""What the stream does with messages: the tasks fetch, score and write."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

import structlog
from pyspark.errors import PythonException

from scorestream.infra.config.settings import Settings
from scorestream.infra.delivery.batch import Batch
from scorestream.infra.delta.warehouse import Warehouse
from scorestream.infra.kafka.connection import consumer_options
from scorestream.infra.kafka.consumer import OffsetRange, fetch, split_ranges
from scorestream.infra.kafka.records import Records
from scorestream.infra.spark.compat import JavaError
from scorestream.infra.spark.process_isolation import Isolation
from scorestream.infra.spark.tasks import run_exchange, run_tasks, tried_once
from scorestream.wallets.core.scoring import Scorings
from scorestream.wallets.execution.decoded_batch import (
    DecodedBatch,
    decode_records,
    split_by_wallet,
)
from scorestream.wallets.execution.history_lookup import WalletFile, wallet_files
from scorestream.wallets.execution.incremental import score_with_history, write_increments
from scorestream.wallets.execution.scoring_task import (
    ScoringReport,
    score_records,
    write_scored,
)
from scorestream.wallets.execution.table_rows import BatchFacts
from scorestream.wallets.predictors.active_models import ActiveModels
from scorestream.wallets.stream.metrics import BatchSummary
from scorestream.wallets.stream.missing_results import MissingResults

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

log = structlog.get_logger()

# So many messages, and the history of their wallets, are held in memory at once.
MAX_RECORDS_PER_BUCKET: Final = 50_000


@dataclass(kw_only=True)
class ScoreTransform:
    """The transform of the stream of scores.

    Attributes:
        settings: how to reach the broker, and what messages hold.
        warehouse: with the tables.
        scorings: what scores them.
        code_version: goes to the rows.
        active_models: the registered models.
        report: takes the summary of each batch that is delivered.
    """

    settings: Settings
    warehouse: Warehouse
    scorings: Scorings
    code_version: str
    active_models: ActiveModels
    report: Callable[[BatchSummary], None]

    def run(self, spark: SparkSession, batch: Batch) -> list[ScoringReport]:
        """Score in tasks; where Spark does not retry one that crashed, again in isolation."""
        facts = BatchFacts(
            batch.run_id,
            batch.batch_id,
            batch.started_at,
            code_version=self.code_version,
            models=self.active_models.refresh(),
            generation=batch.generation,
        )
        try:
            return self._score(spark, batch, facts, Isolation.ON_RETRY)
        except (JavaError, PythonException) as error:
            if not tried_once(error):
                raise
            log.warning("batch_again_with_care", batch=batch.batch_id)
        return self._score(spark, batch, facts, Isolation.ALWAYS)

    def delivered(self, batch: Batch, reports: Sequence[ScoringReport], seconds: float) -> None:
        """Tell the models how they did, and report the batch."""
        self.active_models.record_uses(use for report in reports for use in report.models)
        self.report(BatchSummary.of(reports, batch.batch_id, seconds))

    def _score(
        self, spark: SparkSession, batch: Batch, facts: BatchFacts, isolation: Isolation
    ) -> list[ScoringReport]:
        work = ScoringTask(
            consumer_options=consumer_options(self.settings),
            root=self.warehouse.root,
            scorings=self.scorings,
            facts=facts,
            include_transactions=self.settings.keeps_history,
            batch=batch,
            isolation=isolation,
            message_timeout=self.settings.message_seconds,
        )
        tasks = batch.task_count(spark)
        items = split_ranges(batch.ranges, tasks)
        if not self.settings.is_incremental:
            return run_tasks(spark, work.score, items)
        buckets = max(tasks, sum(map(len, batch.ranges)) // MAX_RECORDS_PER_BUCKET)
        return run_exchange(
            spark,
            items,
            split=partial(work.split, buckets=buckets),
            work=partial(work.score_increments, files=wallet_files(self.warehouse)),
            buckets=buckets,
        )


@dataclass(frozen=True, kw_only=True)
class ScoringTask:
    """What all tasks of a batch have in common.

    Attributes:
        consumer_options: librdkafka settings.
        root: the warehouse.
        scorings: what scores them.
        facts: what all rows share.
        include_transactions: whether the exploded transactions are kept.
        batch: the batch.
        isolation: when messages and models are taken in an isolated process.
        message_timeout: seconds that a piece of scoring may take there.
    """

    consumer_options: dict[str, str]
    root: str
    scorings: Scorings
    facts: BatchFacts
    include_transactions: bool
    batch: Batch
    isolation: Isolation
    message_timeout: float

    def score(self, ranges: Sequence[OffsetRange]) -> ScoringReport:
        """Score messages that each hold their wallet's whole list, and write the rows."""
        missing = self._missing(ranges)
        records = self._fetch(ranges, missing)
        scored = score_records(
            records,
            self.scorings,
            include_transactions=self.include_transactions,
            isolation=self.isolation,
            timeout=self.message_timeout,
        )
        return write_scored(
            scored,
            self.root,
            self.facts,
            include_transactions=self.include_transactions,
            keep=None if missing is None else missing.rows,
            isolation=self.isolation,
        )

    def split(
        self, ranges: Sequence[OffsetRange], buckets: int
    ) -> Iterator[tuple[int, DecodedBatch]]:
        """Messages that hold what is new, decoded and split by wallet."""
        records = self._fetch(ranges, self._missing(ranges))
        decoded = decode_records(
            records, self.scorings, isolation=self.isolation, timeout=self.message_timeout
        )
        return split_by_wallet(decoded, buckets)

    def score_increments(
        self, batches: Sequence[DecodedBatch], files: Sequence[WalletFile]
    ) -> ScoringReport:
        """Score messages that hold what is new, all of their wallets, and write the rows.

        Args:
            batches: the messages.
            files: what `transactions` holds.
        """
        increments = score_with_history(
            batches, files, self.scorings, isolation=self.isolation, timeout=self.message_timeout
        )
        missing = self._missing(self.batch.ranges)
        keep = None if missing is None else missing.rows
        return write_increments(
            increments, self.root, self.facts, keep=keep, isolation=self.isolation
        )

    def _fetch(
        self, ranges: Sequence[OffsetRange], missing: MissingResults | None
    ) -> Iterable[Records]:
        batches = fetch(ranges, self.consumer_options)
        return batches if missing is None else map(missing.records, batches)

    def _missing(self, ranges: Sequence[OffsetRange]) -> MissingResults | None:
        """What is missing of ranges; None: all of it is."""
        stored = self.batch.stored
        if stored is None:
            return None
        return MissingResults.find(
            stored,
            ranges,
            [scoring.name for scoring in self.scorings],
            include_transactions=self.include_transactions,
        )
