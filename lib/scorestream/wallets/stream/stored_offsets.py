"""What the warehouse holds of offsets that are not known to be delivered."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from scorestream.infra.delta.data_files import Condition, read_file
from scorestream.infra.delta.table import Table
from scorestream.infra.delta.warehouse import Warehouse
from scorestream.infra.kafka.consumer import OffsetRange
from scorestream.infra.kafka.records import Records
from scorestream.wallets.execution.scoring_task import Rows
from scorestream.wallets.schema.tables import BATCH_TABLES, REJECTS, SCORES, TRANSACTIONS
from scorestream.wallets.stream.coverage import Coverage, Span, Spans

OFFSET: Final = ["source_partition", "source_offset"]
KEYS: Final = pa.schema(
    [
        SCORES.columns.field(name)
        for name in ("source_topic", *OFFSET, "run_id", "batch_id", "generation")
    ]
)
# Files are looked at by so many threads.
LOOKS: Final = 8
Codes = npt.NDArray[np.int64]
Files = Mapping[Table, Sequence[str]]


@dataclass(frozen=True)
class Uncovered:
    """What the warehouse held beyond the coverage when the stream started; nobody adds to it since.

    Attributes:
        ours: condition on rows of this pass over the topic.
        files: by table, files with such rows; of each, by partition, the offsets they lie between.
    """

    ours: Condition
    files: Mapping[Table, Mapping[str, Spans]]

    @classmethod
    def find(
        cls, warehouse: Warehouse, coverage: Coverage, ours: Condition, partitions: Iterable[int]
    ) -> Uncovered:
        """Look for rows beyond the coverage.

        Only in files that came after the coverage was settled, and in those only at the keys,
        where a row group may have such rows.

        Args:
            warehouse: with the tables.
            coverage: what is delivered.
            ours: condition on rows of this pass over the topic.
            partitions: all of the topic.
        """
        starts = {**dict.fromkeys(partitions, 0), **coverage.starts}
        beyond: Condition = [
            [
                ("source_topic", "=", coverage.topic),
                ("source_partition", "=", partition),
                ("source_offset", ">=", start),
            ]
            for partition, start in sorted(starts.items())
        ]
        found = {}
        for table in BATCH_TABLES:
            uris = warehouse.files(table, beyond)
            if uris:
                known = _settled_files(warehouse, table, coverage)
                found[table] = _held([uri for uri in uris if uri not in known], beyond, ours)
        return cls(ours, found)

    def is_delivered(self, coverage: Coverage) -> bool:
        """Whether all of it is delivered by now."""
        starts = coverage.starts
        return all(
            span.end <= starts.get(partition, 0)
            for held in self.files.values()
            for spans in held.values()
            for partition, span in spans.items()
        )

    def of(self, ranges: Sequence[OffsetRange]) -> Stored | None:
        """What of it may lie in ranges; None: nothing."""
        files = {
            table: [uri for uri, spans in held.items() if _meet(spans, ranges)]
            for table, held in self.files.items()
        }
        if not any(files.values()):
            return None
        return Stored(self.ours, {table: files.get(table, []) for table in BATCH_TABLES})


def _settled_files(warehouse: Warehouse, table: Table, coverage: Coverage) -> frozenset[str]:
    """Files of which all rows of the pass are delivered, as far as that is known without a look."""
    if not coverage.settled:
        return frozenset()
    return warehouse.files_of_version(table, coverage.tables[table.name].version)


def _held(uris: Sequence[str], beyond: Condition, ours: Condition) -> dict[str, Spans]:
    with ThreadPoolExecutor(LOOKS) as pool:
        found = pool.map(lambda uri: _spans(read_file(uri, KEYS, beyond, ours)), uris)
        return {uri: spans for uri, spans in zip(uris, found, strict=True) if spans}


def _spans(rows: pa.Table) -> dict[int, Span]:
    bounds = rows.group_by("source_partition").aggregate(
        [("source_offset", "min"), ("source_offset", "max")]
    )
    return {
        row["source_partition"]: Span(row["source_offset_min"], row["source_offset_max"] + 1)
        for row in bounds.to_pylist()
    }


def _meet(spans: Spans, ranges: Sequence[OffsetRange]) -> bool:
    found = ((spans.get(each.partition), each) for each in ranges)
    return any(span and span.start < r.end and r.start < span.end for span, r in found)


@dataclass(frozen=True)
class Stored:
    """Rows of the tables that a condition picks, in files that never change.

    Attributes:
        condition: what makes a row one of this pass over the topic.
        files: URIs of the files that may hold such rows, by table.
    """

    condition: Condition
    files: Files

    def lacking(self, ranges: Sequence[OffsetRange], include_transactions: bool) -> Lacking:
        """What of the ranges is not stored."""
        scored, rejected, exploded = (
            self._codes(table, ranges) for table in (SCORES, REJECTS, TRANSACTIONS)
        )
        done = np.concatenate([scored, rejected])
        orphans = np.setdiff1d(scored, exploded) if include_transactions else scored[:0]
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
