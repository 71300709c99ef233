"""What a start reads of the tables: counted in files, row groups and columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scorestream.infra.delivery.columns import KEYS
from scorestream.infra.delivery.coverage import Coverage, Span, rows_of
from scorestream.infra.delivery.coverage_table import CoverageTable
from scorestream.infra.delivery.stream import Stream
from scorestream.infra.delivery.unpublished_rows import UnpublishedRows, in_ranges
from scorestream.infra.delta.data_files import Condition, describe_file, new_file_name, read_file
from scorestream.infra.delta.warehouse import Warehouse
from scorestream.infra.kafka.consumer import OffsetRange
from scorestream.wallets.schema.tables import BATCH_TABLES, COVERAGE, SCORES
from scorestream.wallets.schema.views import CATALOG

TOPIC = "in"
STREAM = Stream("test", TOPIC, BATCH_TABLES, COVERAGE)
GROUP_ROWS = 100
DELIVERED = 4000
KEY_COLUMNS = frozenset(KEYS.names)


def rows(offsets: Sequence[int], generation: int | None = 0, topic: str = TOPIC) -> pa.Table:
    n = len(offsets)
    known = {
        "source_topic": pa.repeat(topic, n),
        "source_partition": pa.array(np.zeros(n), pa.int32()),
        "source_offset": pa.array(offsets, pa.int64()),
        "run_id": pa.repeat("run", n),
        "batch_id": pa.array(np.zeros(n), pa.int64()),
        "generation": pa.array([generation] * n, pa.int32()),
    }
    return pa.Table.from_arrays(
        [
            known.get(field.name, pa.nulls(n, field.type)).cast(field.type)
            for field in SCORES.columns
        ],
        schema=SCORES.columns,
    )


def add(warehouse: Warehouse, table: pa.Table) -> str:
    """A file of row groups of a hundred rows, committed."""
    name = new_file_name()
    uri = f"{warehouse.path(SCORES)}/{name}"
    pq.write_table(table, uri, row_group_size=GROUP_ROWS)
    warehouse.append(SCORES, [describe_file(warehouse.root, SCORES, name)], None)
    return uri


@pytest.fixture
def clustered(tmp_path: Path) -> Warehouse:
    """Offsets up to 4000 in four files, in no order; and in one of them 5 that are not delivered.

    These lie in two row groups, in a file that came after the coverage was settled, as when the
    tables were clustered after a crash.
    """
    warehouse = Warehouse(str(tmp_path), CATALOG)
    warehouse.create_tables()
    mixed = np.random.default_rng(1).permutation(DELIVERED).reshape(4, -1)
    for part in mixed[:3]:
        add(warehouse, rows(part))
    records = CoverageTable(warehouse, STREAM)
    delivered = Coverage(TOPIC, "id", spans={0: Span(0, DELIVERED)})
    records.write(delivered.next(records.tables(0), settled=True))
    offsets = mixed[3].copy()
    offsets[[110, 120, 510, 520, 530]] = DELIVERED + np.arange(5)
    add(warehouse, rows(offsets))
    return warehouse


@dataclass
class Reads:
    """Row groups that were read of files, each with all its columns that were."""

    found: dict[tuple[pq.ParquetFile, int], set[str]] = field(default_factory=dict)

    def note(self, file: pq.ParquetFile, group: int, columns: list[str]) -> None:
        self.found.setdefault((file, group), set()).update(columns)

    @property
    def keys(self) -> list[int]:
        """The groups of which keys alone were read."""
        return [group for (_, group), columns in self.found.items() if columns <= KEY_COLUMNS]

    @property
    def whole(self) -> list[int]:
        """The groups of which all was read."""
        every = set(SCORES.columns.names)
        return [group for (_, group), columns in self.found.items() if columns == every]


@pytest.fixture
def reads(clustered: Warehouse, monkeypatch: pytest.MonkeyPatch) -> Reads:
    """What is read after the tables were made."""
    found = Reads()
    read_row_group = pq.ParquetFile.read_row_group

    def read(file: pq.ParquetFile, group: int, columns: list[str], **options: Any) -> pa.Table:
        found.note(file, group, columns)
        return read_row_group(file, group, columns, **options)

    def read_all(*_: Any, **__: Any) -> pa.Table:
        raise AssertionError("all of a file is read")

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", read)
    monkeypatch.setattr(pq.ParquetFile, "read", read_all)
    return found


def find(warehouse: Warehouse, coverage: Coverage, condition: Condition) -> UnpublishedRows:
    """As a start of the stream looks for what is not delivered."""
    return UnpublishedRows.find(
        warehouse, BATCH_TABLES, coverage, condition=condition, partitions=[0]
    )


def newest(warehouse: Warehouse) -> Coverage:
    coverage = CoverageTable(warehouse, STREAM).newest_confirmed(0)
    assert coverage is not None
    return coverage


def test_a_restart_reads_no_more_than_the_batch_needs(clustered: Warehouse, reads: Reads) -> None:
    coverage = newest(clustered)
    reads.found.clear()
    held = find(clustered, coverage, rows_of(0, 0, ""))
    # Of four files with ten row groups each, the keys of the two with rows not delivered.
    assert (reads.keys, reads.whole) == ([1, 5], [])
    [(uri, spans)] = held.files[SCORES].items()
    assert spans == {0: Span(DELIVERED, DELIVERED + 5)}

    # A batch of two of them: the keys once more in its task, and all columns to publish it.
    reads.found.clear()
    batch = [OffsetRange(TOPIC, 0, DELIVERED, DELIVERED + 2)]
    stored = held.within(batch)
    assert stored is not None
    assert list(stored.files[SCORES]) == [uri]
    assert len(stored.offsets(SCORES, batch)) == 2
    assert (reads.keys, reads.whole) == ([1, 5], [])
    published = read_file(uri, SCORES.columns, stored.condition, in_ranges(batch))
    assert sorted(published["source_offset"].to_pylist()) == [DELIVERED, DELIVERED + 1]
    assert (reads.keys, reads.whole) == ([1, 5, 5], [1])

    # What lies behind it is not looked at any more.
    assert held.within([OffsetRange(TOPIC, 0, DELIVERED + 5, DELIVERED + 99)]) is None
    assert not held.are_delivered(coverage)
    assert held.are_delivered(coverage.with_delivered({0: Span(DELIVERED, DELIVERED + 5)}))


def test_where_nothing_was_cut_off_no_file_is_opened(clustered: Warehouse, reads: Reads) -> None:
    records = CoverageTable(clustered, STREAM)
    span = {0: Span(DELIVERED, DELIVERED + 5)}
    records.write(newest(clustered).with_delivered(span).next(records.tables(0), settled=True))
    # A backfill's rows have numbers of their own; they came before the record.
    coverage = newest(clustered)
    reads.found.clear()
    assert find(clustered, coverage, []).files.get(SCORES, {}) == {}
    assert not reads.found


def test_rows_of_another_pass_or_topic_do_not_count(clustered: Warehouse, reads: Reads) -> None:
    new = newest(clustered)
    add(clustered, rows([9000], generation=1))
    add(clustered, rows([9001], topic="wallets:transactions"))
    older = add(clustered, rows([9002], generation=None))
    first = find(clustered, new, rows_of(0, 1, ""))
    assert older in first.files[SCORES]
    assert len(first.files[SCORES]) == 2
    assert first.within([OffsetRange(TOPIC, 0, 9000, 9002)]) is None
    second = find(clustered, new, rows_of(1, 1, ""))
    assert list(second.files[SCORES].values()) == [{0: Span(9000, 9001)}]
