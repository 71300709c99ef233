"""What is to be scored of messages that were stored in part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scorestream.infra.delivery.unpublished_rows import (
    OffsetCodes,
    StoredRows,
    record_codes,
    without_offsets,
)
from scorestream.infra.kafka.consumer import OffsetRange
from scorestream.infra.kafka.records import Records
from scorestream.wallets.execution.scoring_task import Rows
from scorestream.wallets.schema.tables import REJECTS, SCORES, TRANSACTIONS


@dataclass(frozen=True)
class MissingResults:
    """Which results of a batch are not stored.

    Transactions are committed first, and may be there without their score; scores may be there
    without their transactions if these were not kept when they were scored.

    Attributes:
        answered: codes of the offsets with a row in `scores` or `rejects`.
        exploded: codes of the offsets with rows in `transactions`.
        without_transactions: codes of the offsets with a score, whose transactions are missing.
    """

    answered: OffsetCodes
    exploded: OffsetCodes
    without_transactions: OffsetCodes

    @classmethod
    def find(
        cls, stored: StoredRows, ranges: Sequence[OffsetRange], *, include_transactions: bool
    ) -> MissingResults:
        """Look for what the tables hold of ranges."""
        scored, rejected, exploded = (
            stored.offsets(table, ranges) for table in (SCORES, REJECTS, TRANSACTIONS)
        )
        lean = np.setdiff1d(scored, exploded) if include_transactions else scored[:0]
        return cls(np.concatenate([scored, rejected]), exploded, lean)

    def records(self, records: Records) -> Records:
        """The records of which a row is missing."""
        codes = record_codes(records)
        return records.filter(
            ~np.isin(codes, self.answered) | np.isin(codes, self.without_transactions)
        )

    def rows(self, rows: Rows) -> Rows:
        """The rows that are missing."""
        return {
            table: without_offsets(each, self.exploded if table == TRANSACTIONS else self.answered)
            for table, each in rows.items()
        }
