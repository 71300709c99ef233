"""What the tasks do for a micro-batch: fetch, score, write."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from scorestream.infra.kafka.consumer import OffsetRange, fetch
from scorestream.infra.kafka.records import Records
from scorestream.infra.spark.isolation import Care
from scorestream.wallets.core.pipeline import ScoringModel
from scorestream.wallets.execution.decoded_batch import Piece, decode_records, split_by_wallet
from scorestream.wallets.execution.history_lookup import WalletFile
from scorestream.wallets.execution.incremental import score_pieces, write_increments
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
        care: how tasks work with care.
    """

    options: dict[str, str]
    root: str
    model: ScoringModel
    facts: BatchFacts
    include_transactions: bool
    stored: Stored | None
    care: Care

    def score(self, ranges: Sequence[OffsetRange]) -> ScoringReport:
        """Score messages that each hold their wallet's whole list, and write the rows."""
        batches = fetch(ranges, self.options)
        if self.stored is None:
            scored = score_records(batches, self.model, self.include_transactions, self.care)
            return write_scored(
                scored, self.root, self.facts, self.include_transactions, care=self.care
            )
        lacking = self.stored.lacking(ranges, self.include_transactions)
        records = map(lacking.of, batches)
        needed = score_records(records, self.model, self.include_transactions, self.care)
        return write_scored(
            needed, self.root, self.facts, self.include_transactions, lacking.keep, self.care
        )

    def split(self, ranges: Sequence[OffsetRange], buckets: int) -> Iterator[tuple[int, Piece]]:
        """Messages that hold what is new, decoded and dealt out by wallet."""
        batches: Iterable[Records] = fetch(ranges, self.options)
        if self.stored is not None:
            batches = map(self.stored.lacking(ranges, self.include_transactions).of, batches)
        return split_by_wallet(decode_records(batches, self.model, self.care), buckets)

    def score_increments(
        self, pieces: Sequence[Piece], ranges: Sequence[OffsetRange], files: Sequence[WalletFile]
    ) -> ScoringReport:
        """Score messages that hold what is new, all of their wallets, and write the rows.

        Args:
            pieces: the messages.
            ranges: all ranges of the batch.
            files: what `transactions` holds.
        """
        increments = score_pieces(pieces, files, self.model, self.care)
        if self.stored is None:
            return write_increments(increments, self.root, self.facts, care=self.care)
        keep = self.stored.lacking(ranges, self.include_transactions).keep
        return write_increments(increments, self.root, self.facts, keep, self.care)
