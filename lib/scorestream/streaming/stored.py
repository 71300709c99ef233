"""What the warehouse holds of a micro-batch that may have been cut off before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from scorestream.io.delta.files import Condition, read_file
from scorestream.io.delta.warehouse import Warehouse
from scorestream.io.kafka.fetching import OffsetRange
from scorestream.records import Records
from scorestream.scoring.task import Rows
from scorestream.tables import BATCH_TABLES, REJECTS, SCORES, TRANSACTIONS, Table

OFFSET: Final = ["source_partition", "source_offset"]
KEYS: Final = pa.schema(
    [SCORES.columns.field(name) for name in ("source_topic", *OFFSET, "run_id", "batch_id")]
)
Codes = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Stored:
    """Rows of the tables that a condition picks, in files that never change.

    Attributes:
        condition: what makes a row one of the batch.
        files: URIs of the files that may hold such rows, by table.
    """

    condition: Condition
    files: Mapping[Table, list[str]]

    @classmethod
    def of(cls, warehouse: Warehouse, condition: Condition) -> Stored:
        """What the warehouse holds now."""
        return cls(condition, {t: warehouse.files(t, condition) for t in BATCH_TABLES})

    def lacking(self, ranges: Sequence[OffsetRange], history: bool) -> Lacking:
        """What of the ranges is not stored."""
        scored, rejected, exploded = (
            self._codes(table, ranges) for table in (SCORES, REJECTS, TRANSACTIONS)
        )
        done = np.concatenate([scored, rejected])
        orphans = np.setdiff1d(scored, exploded) if history else scored[:0]
        return Lacking(done, exploded, orphans)

    def _codes(self, table: Table, ranges: Sequence[OffsetRange]) -> Codes:
        where = (self.condition, in_ranges(ranges))
        found = [read_file(uri, KEYS, *where) for uri in self.files[table]]
        codes = [_codes(*(np.asarray(rows[name]) for name in OFFSET)) for rows in found]
        return np.unique(np.concatenate([np.zeros(0, dtype=np.int64), *codes]))


@dataclass(frozen=True)
class Lacking:
    """What is to be scored of ranges that were stored in part.

    Transactions are committed first, and may be there without their score; scores may be there
    without their transactions if these were not kept when they were scored.

    Attributes:
        done: offsets with a row in `scores` or `rejects`, as codes.
        exploded: offsets with rows in `transactions`.
        orphans: offsets with a score, whose transactions lack.
    """

    done: Codes
    exploded: Codes
    orphans: Codes

    def of(self, records: Records) -> Records:
        """The records that have anything to write."""
        codes = _codes(records.partitions, records.offsets)
        return records.filter(~np.isin(codes, self.done) | np.isin(codes, self.orphans))

    def keep(self, rows: Rows) -> Rows:
        """The rows that are not stored."""
        return {
            table: _without(each, self.exploded if table == TRANSACTIONS else self.done)
            for table, each in rows.items()
        }


def in_ranges(ranges: Sequence[OffsetRange]) -> Condition:
    """Condition on rows whose source lies in one of the ranges."""
    return [
        [
            ("source_topic", "=", each.topic),
            ("source_partition", "=", each.partition),
            ("source_offset", ">=", each.start),
            ("source_offset", "<", each.end),
        ]
        for each in ranges
    ]


def _codes(partitions: npt.NDArray[np.int32], offsets: npt.NDArray[np.int64]) -> Codes:
    """One integer for each (partition, offset): 2^44 offsets of a partition last a while."""
    return (partitions.astype(np.int64) << 44) | offsets


def _without(rows: pa.Table, codes: Codes) -> pa.Table:
    own = _codes(*(np.asarray(rows[name]) for name in OFFSET))
    return rows.filter(pa.array(~np.isin(own, codes)))
