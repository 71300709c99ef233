"""Data files of Delta tables: written and read by the tasks, committed by the driver.

A task writes Parquet files under names of their own and reports them; until the driver commits
them, no reader knows of them. Files of a task that failed, or was run twice, are never committed.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from scorestream.infra.delta.table import Table
from scorestream.infra.storage.filesystem import filesystem_of

# Rows are gathered into groups of this size before they are written.
ROW_GROUP_BYTES: Final = 64 * 1024 * 1024
COMPRESSION: Final = "zstd"
# A column of our own while rows are filtered.
_ROW: Final = "\0row"

# A condition on rows, as delta-rs and pyarrow both take it: or-ed lists of and-ed
# (column, operator, value).
Condition = list[list[tuple[str, str, Any]]]
Rows = TypeVar("Rows", pa.Table, pa.RecordBatch)


class DataFile(msgspec.Struct, frozen=True):
    """A written file: what the transaction log has to say of it.

    Attributes:
        table: name of the table.
        path: relative to the table's folder.
        size: bytes.
        records: rows.
        statistics: JSON of Delta's per-file statistics.
    """

    table: str
    path: str
    size: int
    records: int
    statistics: str


def new_file_name() -> str:
    """Make a unique file name."""
    return f"part-{uuid.uuid4()}.{COMPRESSION}.parquet"


def describe_file(root: str, table: Table, name: str) -> DataFile:
    """Describe a written file for the transaction log."""
    filesystem, folder = filesystem_of(f"{root}/{table.name}")
    size = filesystem.get_file_info(f"{folder}/{name}").size
    with filesystem.open_input_file(f"{folder}/{name}") as file:
        metadata = pq.read_metadata(file)
    statistics = _statistics(metadata, table.statistics)
    return DataFile(table.name, name, size, metadata.num_rows, statistics)


class TableWriter:
    """Writes rows of one table into one new file; no rows, no file."""

    def __init__(self, root: str, table: Table) -> None:
        self._root = root
        self._table = table
        self._path = new_file_name()
        self._pending: list[pa.Table] = []
        self._pending_bytes = 0
        self._writer: pq.ParquetWriter | None = None

    def write(self, rows: pa.Table) -> None:
        """Add rows with exactly the table's columns."""
        if rows.num_rows == 0:
            return
        self._pending.append(rows)
        self._pending_bytes += rows.nbytes
        if self._pending_bytes >= ROW_GROUP_BYTES:
            self._flush()

    def close(self) -> DataFile | None:
        """Finish the file; None if there were no rows."""
        if self._pending:
            self._flush()
        if self._writer is None:
            return None
        self._writer.close()
        return describe_file(self._root, self._table, self._path)

    def _flush(self) -> None:
        rows = pa.concat_tables(self._pending).combine_chunks()
        self._pending, self._pending_bytes = [], 0
        if self._writer is None:
            filesystem, folder = filesystem_of(f"{self._root}/{self._table.name}")
            self._writer = pq.ParquetWriter(
                f"{folder}/{self._path}",
                self._table.columns,
                filesystem=filesystem,
                compression=COMPRESSION,
            )
        self._writer.write_table(rows, row_group_size=rows.num_rows)


def write_file(root: str, table: Table, rows: pa.Table) -> list[DataFile]:
    """Write rows with exactly the table's columns into a new file; no rows, no file."""
    writer = TableWriter(root, table)
    writer.write(rows)
    file = writer.close()
    return [file] if file else []


def read_file(uri: str, columns: pa.Schema, *conditions: Condition) -> pa.Table:
    """Read the rows of a data file that meet the conditions.

    Row groups that cannot have such a row, by their statistics, are not read; of the others first
    the columns of the conditions, and the rest only where a row meets them.

    Args:
        uri: the file.
        columns: what is read; those that are younger than the file are null.
        conditions: on columns of these; none, or an empty one: all rows.
    """
    required = [condition for condition in conditions if condition]
    filesystem, path = filesystem_of(uri)
    # Without pyarrow's dataset module, whose import alone takes longer than a micro-batch.
    with pq.ParquetFile(path, filesystem=filesystem) as file:
        if not required:
            return conform(file.read(columns.names, use_threads=False), columns)
        groups = [
            number
            for number in range(file.metadata.num_row_groups)
            if _may_match(file.metadata.row_group(number), required)
        ]
        parts = [_read_matching(file, number, columns, required) for number in groups]
    return pa.concat_tables([columns.empty_table(), *parts])


def _read_matching(
    file: pq.ParquetFile, group: int, columns: pa.Schema, conditions: Sequence[Condition]
) -> pa.Table:
    """Rows of a row group that meet all conditions."""
    filter_columns = _columns_of(conditions)
    keys = pa.schema([field for field in columns if field.name in filter_columns])
    rows = conform(file.read_row_group(group, keys.names, use_threads=False), keys)
    rows = rows.append_column(_ROW, pa.array(range(rows.num_rows), pa.int64()))
    for condition in conditions:
        rows = rows.filter(pq.filters_to_expression(condition))
    others = [name for name in columns.names if name not in filter_columns]
    if rows.num_rows and others:
        other_columns = file.read_row_group(group, others, use_threads=False).take(rows[_ROW])
        for name in other_columns.column_names:
            rows = rows.append_column(name, other_columns[name])
    return conform(rows, columns)


def _columns_of(conditions: Sequence[Condition]) -> set[str]:
    return {name for condition in conditions for terms in condition for name, _, _ in terms}


def conform(rows: Rows, columns: pa.Schema) -> Rows:
    """Convert rows to exactly these columns, in their order and types; missing ones are null."""
    present = set(rows.schema.names)
    arrays = [
        rows[field.name].cast(field.type)
        if field.name in present
        else pa.nulls(rows.num_rows, field.type)
        for field in columns
    ]
    return type(rows).from_arrays(arrays, schema=columns)


def _may_match(group: pq.RowGroupMetaData, conditions: Sequence[Condition]) -> bool:
    """Whether a row group may have a matching row, by its statistics."""
    bounds = _bounds(group, _columns_of(conditions))
    return all(
        any(
            all(name not in bounds or _may_contain(bounds[name], *rest) for name, *rest in terms)
            for terms in condition
        )
        for condition in conditions
    )


def _bounds(
    group: pq.RowGroupMetaData, columns: Collection[str]
) -> dict[str, tuple[Any, Any] | None]:
    """Least and greatest value of the columns that have such statistics; None: all are null."""
    by_column = {each.path_in_schema: each.statistics for each in _columns(group)}
    return {
        name: (by_column[name].min, by_column[name].max) if name in by_column else None
        for name in columns
        if name not in by_column or (by_column[name] is not None and by_column[name].has_min_max)
    }


def _columns(group: pq.RowGroupMetaData) -> Iterator[pq.ColumnChunkMetaData]:
    return (group.column(index) for index in range(group.num_columns))


def _may_contain(bounds: tuple[Any, Any] | None, operator: str, value: Any) -> bool:
    """Whether between two bounds there may be a value as a condition asks for."""
    if bounds is None:
        return operator not in {"=", "<", ">="}
    lowest, highest = bounds
    rooms = {
        "=": lambda: lowest <= value <= highest,
        "<": lambda: lowest < value,
        ">=": lambda: highest >= value,
    }
    return bool(rooms[operator]()) if operator in rooms else True


def _statistics(metadata: pq.FileMetaData, columns: Collection[str]) -> str:
    """Minima, maxima and null counts over all row groups, as Delta's protocol writes them."""
    lowest: dict[str, Any] = {}
    highest: dict[str, Any] = {}
    nulls: dict[str, int] = {}
    for group in range(metadata.num_row_groups):
        for index in range(metadata.num_columns):
            column = metadata.row_group(group).column(index)
            name, found = column.path_in_schema, column.statistics
            if name not in columns or found is None:
                continue
            nulls[name] = nulls.get(name, 0) + (found.null_count or 0)
            if found.has_min_max:
                lowest[name] = min(found.min, lowest.get(name, found.min))
                highest[name] = max(found.max, highest.get(name, found.max))
    return json.dumps(
        {
            "numRecords": metadata.num_rows,
            "minValues": _plain(lowest),
            "maxValues": _plain(highest),
            "nullCount": nulls,
        }
    )


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value if isinstance(value, int | str) else value.isoformat()
        for name, value in values.items()
    }
