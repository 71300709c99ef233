"""Rows that the tables hold and coverage does not say are published: the stream publishes them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from scorestream.infra.delivery.columns import KEYS
from scorestream.infra.delivery.coverage import Coverage, Span, Spans
from scorestream.infra.delta.data_files import Condition, read_file
from scorestream.infra.delta.table import Table
from scorestream.infra.delta.warehouse import Warehouse
from scorestream.infra.kafka.consumer import OffsetRange
from scorestream.infra.kafka.records import Records

READER_THREADS: Final = 8
# (partition, offset) as one integer.
OffsetCodes = npt.NDArray[np.int64]
_OFFSET_BITS: Final = 44


@dataclass(frozen=True)
class UnpublishedRows:
    """Rows beyond the coverage that the tables held when the stream started; nobody adds any.

    Attributes:
        condition: on rows of this pass over the topic.
        files: by table, files with such rows; of each, by partition, the offsets they lie between.
    """

    condition: Condition
    files: Mapping[Table, Mapping[str, Spans]]

    @classmethod
    def find(
        cls,
        warehouse: Warehouse,
        tables: Iterable[Table],
        coverage: Coverage,
        *,
        condition: Condition,
        partitions: Iterable[int],
    ) -> UnpublishedRows:
        """Look for rows beyond the coverage.

        Only in files that came after the coverage was settled, and in those only at the keys,
        where a row group may have such rows.

        Args:
            warehouse: with the tables.
            tables: those that a batch is written to.
            coverage: what is delivered.
            condition: on rows of this pass over the topic.
            partitions: all of the topic.
        """
        beyond = _beyond(coverage, partitions)
        found = {}
        for table in tables:
            uris = warehouse.files(table, beyond)
            known = _settled_files(warehouse, table, coverage) if uris else frozenset()
            unknown = [uri for uri in uris if uri not in known]
            found[table] = _files_with_rows(unknown, beyond, condition)
        return cls(condition, found)

    def are_delivered(self, coverage: Coverage) -> bool:
        """Whether all of them are delivered by now."""
        starts = coverage.starts
        return all(
            span.end <= starts.get(partition, 0)
            for files in self.files.values()
            for spans in files.values()
            for partition, span in spans.items()
        )

    def within(self, ranges: Sequence[OffsetRange]) -> StoredRows | None:
        """Those that may lie in ranges; None: there are none."""
        files = {
            table: [uri for uri, spans in found.items() if _overlap(spans, ranges)]
            for table, found in self.files.items()
        }
        return StoredRows(self.condition, files) if any(files.values()) else None


def _beyond(coverage: Coverage, partitions: Iterable[int]) -> Condition:
    """Condition on rows that are not known to be delivered."""
    starts = {**dict.fromkeys(partitions, 0), **coverage.starts}
    return [
        [
            ("source_topic", "=", coverage.topic),
            ("source_partition", "=", partition),
            ("source_offset", ">=", start),
        ]
        for partition, start in sorted(starts.items())
    ]


def _settled_files(warehouse: Warehouse, table: Table, coverage: Coverage) -> frozenset[str]:
    """Files of which all rows of the pass are delivered, as far as that is known without a look."""
    if not coverage.settled:
        return frozenset()
    return warehouse.files_of_version(table, coverage.tables[table.name].version)


def _files_with_rows(
    uris: Sequence[str], beyond: Condition, condition: Condition
) -> dict[str, Spans]:
    if not uris:
        return {}
    with ThreadPoolExecutor(READER_THREADS) as pool:
        found = pool.map(lambda uri: _spans(read_file(uri, KEYS, beyond, condition)), uris)
        return {uri: spans for uri, spans in zip(uris, found, strict=True) if spans}


def _spans(rows: pa.Table) -> dict[int, Span]:
    bounds = rows.group_by("source_partition").aggregate(
        [("source_offset", "min"), ("source_offset", "max")]
    )
    return {
        row["source_partition"]: Span(row["source_offset_min"], row["source_offset_max"] + 1)
        for row in bounds.to_pylist()
    }


def _overlap(spans: Spans, ranges: Sequence[OffsetRange]) -> bool:
    found = ((spans.get(each.partition), each) for each in ranges)
    return any(span and span.start < r.end and r.start < span.end for span, r in found)


@dataclass(frozen=True)
class StoredRows:
    """Rows of the tables that a condition picks, in files that never change.

    Attributes:
        condition: what makes a row one of this pass over the topic.
        files: URIs of the files that may hold such rows, by table.
    """

    condition: Condition
    files: Mapping[Table, Sequence[str]]

    def offsets(self, table: Table, ranges: Sequence[OffsetRange]) -> OffsetCodes:
        """Codes of the offsets in ranges of which a table has rows, sorted."""
        return np.unique(_codes_of_rows(self._keys(table, KEYS, ranges)))

    def offsets_by(
        self, table: Table, column: str, ranges: Sequence[OffsetRange]
    ) -> dict[str | None, OffsetCodes]:
        """By the values of a column of text, codes of the offsets in ranges of such rows."""
        rows = self._keys(table, KEYS.append(table.columns.field(column)), ranges)
        codes = _codes_of_rows(rows)
        values = rows[column].combine_chunks().dictionary_encode(null_encoding="encode")
        number = np.asarray(values.indices)
        return {
            value: np.unique(codes[number == i])
            for i, value in enumerate(values.dictionary.to_pylist())
        }

    def _keys(self, table: Table, columns: pa.Schema, ranges: Sequence[OffsetRange]) -> pa.Table:
        conditions = (self.condition, in_ranges(ranges))
        found = [read_file(uri, columns, *conditions) for uri in self.files[table]]
        return pa.concat_tables([columns.empty_table(), *found])


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


def record_codes(records: Records) -> OffsetCodes:
    """Codes of the offsets of n records, int64[n]."""
    return _codes(records.partitions, records.offsets)


def without_offsets(rows: pa.Table, codes: OffsetCodes) -> pa.Table:
    """The rows of a table that are of none of these offsets."""
    return rows.filter(pa.array(~np.isin(_codes_of_rows(rows), codes)))


def only_offsets(rows: pa.Table, codes: OffsetCodes) -> pa.Table:
    """The rows of a table that are of some of these offsets."""
    return rows.filter(pa.array(np.isin(_codes_of_rows(rows), codes)))


def _codes_of_rows(rows: pa.Table) -> OffsetCodes:
    return _codes(np.asarray(rows["source_partition"]), np.asarray(rows["source_offset"]))


def _codes(partitions: npt.NDArray[np.int32], offsets: npt.NDArray[np.int64]) -> OffsetCodes:
    """One integer for each (partition, offset): 2^44 offsets of a partition last a while."""
    return (partitions.astype(np.int64) << _OFFSET_BITS) | offsets
