"""What is to be scored of messages that were stored in part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from scorestream.infra.delivery.unpublished_rows import (
    OffsetCodes,
    StoredRows,
    only_offsets,
    record_codes,
    without_offsets,
)
from scorestream.infra.delta.table import Table
from scorestream.infra.kafka.consumer import OffsetRange
from scorestream.infra.kafka.records import Records
from scorestream.wallets.execution.scoring_task import Rows
from scorestream.wallets.schema.tables import REJECTS, SCORES, TRANSACTIONS

_NONE: Final = np.zeros(0, dtype=np.int64)


@dataclass(frozen=True)
class MissingResults:
    """Which results of a batch are not stored.

    Transactions are committed first, and may be there without their score; scores may be there
    without their transactions if these were not kept when they were scored. Rejects come before
    scores, so that those of one scoring may be there without the scores of another.

    Attributes:
        answered: by scoring, codes of the offsets with its score, its reject or one of all.
        exploded: codes of the offsets with rows in `transactions`.
        without_transactions: codes of the offsets with a score, whose transactions are missing.
    """

    answered: Mapping[str, OffsetCodes]
    exploded: OffsetCodes
    without_transactions: OffsetCodes

    @classmethod
    def find(
        cls,
        stored: StoredRows,
        ranges: Sequence[OffsetRange],
        scorings: Sequence[str],
        *,
        include_transactions: bool,
    ) -> MissingResults:
        """Look for what the tables hold of ranges.

        Args:
            stored: rows that the tables hold.
            ranges: where they are looked for.
            scorings: names of those that answer a message.
            include_transactions: whether transactions are kept.
        """
        scored, rejected = (
            stored.offsets_by(table, "scoring", ranges) for table in (SCORES, REJECTS)
        )
        of_all = rejected.get(None, _NONE)
        answered = {
            name: np.concatenate([scored.get(name, _NONE), rejected.get(name, _NONE), of_all])
            for name in scorings
        }
        exploded = stored.offsets(TRANSACTIONS, ranges)
        every_score = np.concatenate([_NONE, *scored.values()])
        lean = np.setdiff1d(every_score, exploded) if include_transactions else _NONE
        return cls(answered, exploded, lean)

    def records(self, records: Records) -> Records:
        """The records of which a row is missing."""
        codes = record_codes(records)
        missing = np.isin(codes, self.without_transactions)
        for found in self.answered.values():
            missing |= ~np.isin(codes, found)
        return records.filter(missing)

    def rows(self, rows: Rows) -> Rows:
        """The rows that are missing."""
        return {table: self._missing(table, found) for table, found in rows.items()}

    def _missing(self, table: Table, rows: pa.Table) -> pa.Table:
        if table == TRANSACTIONS:
            return without_offsets(rows, self.exploded)
        # What all scorings reject, while some of them have answered, is a reject of each other.
        of_all = pc.is_null(rows["scoring"])
        answered_by_some = np.unique(np.concatenate(list(self.answered.values())))
        shared = rows.filter(of_all)
        parts = [without_offsets(shared, answered_by_some)]
        shared = only_offsets(shared, answered_by_some)
        at = rows.schema.get_field_index("scoring")
        for name, found in self.answered.items():
            own = rows.filter(pc.equal(rows["scoring"], name))
            named = shared.set_column(at, rows.schema.field(at), pa.repeat(name, len(shared)))
            parts += [without_offsets(each, found) for each in (own, named)]
        return pa.concat_tables(parts)
