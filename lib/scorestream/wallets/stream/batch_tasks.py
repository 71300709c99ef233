"""What the tasks do for a micro-batch: fetch, score, write."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from scorestream.infra.kafka.consumer import OffsetRange, fetch
from scorestream.infra.kafka.records import Records
from scorestream.infra.spark.isolation import Isolation
from scorestream.wallets.core.pipeline import ScoringModel
from scorestream.wallets.execution.decoded_batch import (
    DecodedBatch,
    decode_records,
    split_by_wallet,
)
from scorestream.wallets.execution.history_lookup import WalletFile
from scorestream.wallets.execution.incremental import score_with_history, write_increments
from scorestream.wallets.execution.scoring_task import ScoringReport, score_records, write_scored
from scorestream.wallets.execution.table_rows import BatchFacts
from scorestream.wallets.stream.stored_offsets import Stored


@dataclass(frozen=True)
class BatchWork:
    """What all tasks of a batch have in common.

    Attributes:
        options: librdkafka settings.
        root: the warehouse.
        include_transactions: whether the exploded transactions are kept.
        stored: what the warehouse holds of a batch that may have been cut off before.
        isolation: when messages and models are taken in an isolated process.
        message_timeout: seconds that a piece of scoring may take there.
    """

    options: dict[str, str]
    root: str
    model: ScoringModel
    facts: BatchFacts
    include_transactions: bool
    stored: Stored | None
    isolation: Isolation
    message_timeout: float

    def score(self, ranges: Sequence[OffsetRange]) -> ScoringReport:
        """Score messages that each hold their wallet's whole list, and write the rows."""
        batches: Iterable[Records] = fetch(ranges, self.options)
        keep = None
        if self.stored is not None:
            lacking = self.stored.lacking(ranges, self.include_transactions)
            batches, keep = map(lacking.of, batches), lacking.keep
        scored = score_records(
            batches,
            self.model,
            include_transactions=self.include_transactions,
            isolation=self.isolation,
            timeout=self.message_timeout,
        )
        return write_scored(
            scored,
            self.root,
            self.facts,
            include_transactions=self.include_transactions,
            keep=keep,
            isolation=self.isolation,
        )

    def split(
        self, ranges: Sequence[OffsetRange], buckets: int
    ) -> Iterator[tuple[int, DecodedBatch]]:
        """Messages that hold what is new, decoded and split by wallet."""
        batches: Iterable[Records] = fetch(ranges, self.options)
        if self.stored is not None:
            batches = map(self.stored.lacking(ranges, self.include_transactions).of, batches)
        decoded = decode_records(
            batches, self.model, isolation=self.isolation, timeout=self.message_timeout
        )
        return split_by_wallet(decoded, buckets)

    def score_increments(
        self,
        batches: Sequence[DecodedBatch],
        ranges: Sequence[OffsetRange],
        files: Sequence[WalletFile],
    ) -> ScoringReport:
        """Score messages that hold what is new, all of their wallets, and write the rows.

        Args:
            batches: the messages.
            ranges: all ranges of the batch.
            files: what `transactions` holds.
        """
        increments = score_with_history(
            batches, files, self.model, isolation=self.isolation, timeout=self.message_timeout
        )
        keep = None
        if self.stored is not None:
            keep = self.stored.lacking(ranges, self.include_transactions).keep
        return write_increments(
            increments, self.root, self.facts, keep=keep, isolation=self.isolation
        )
