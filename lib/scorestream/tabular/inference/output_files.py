"""Writes tables in batches: CSV, Parquet or Delta by the path's ending."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from deltalake import DeltaTable, write_deltalake
from deltalake.exceptions import DeltaError as DeltaRsError
from deltalake.transaction import AddAction

from scorestream.infra.delta.data_files import new_file_name
from scorestream.infra.delta.table_features import MAPPING, find_renamed_columns, refusal
from scorestream.infra.error_text import error_summary
from scorestream.infra.errors import InputError
from scorestream.infra.storage.filesystem import as_uri, exists, filesystem_of
from scorestream.tabular.training.data.ingest import CSV_ENDINGS, is_delta

_UNWRITABLE: Final = (OSError, pa.ArrowException, DeltaRsError)


def write_batches(path: str, schema: pa.Schema, batches: Iterable[pa.Table]) -> int:
    """Write rows in their order; returns how many.

    Args:
        path: .csv, .csv.gz and .parquet are files, which are overwritten when all is written; any
            other path is a Delta table, whose content is replaced when all is written, by one
            commit, or by two where the columns are others than before.

    Raises:
        InputError: it cannot be written, or there is something else.
    """
    counted = _CountedBatches(schema, batches)
    try:
        if path.endswith((*CSV_ENDINGS, ".parquet")):
            _write_file(path, schema, counted)
        else:
            _write_delta(path, schema, counted)
    except _UNWRITABLE as error:
        raise InputError(f"{path}: cannot be written: {error_summary(error)}") from None
    return counted.rows


class _CountedBatches:
    """Casts batches to the types of the first one, and counts their rows."""

    def __init__(self, schema: pa.Schema, batches: Iterable[pa.Table]) -> None:
        self._schema = schema
        self._batches = batches
        self.rows = 0

    def __iter__(self) -> Iterator[pa.Table]:
        for batch in self._batches:
            self.rows += batch.num_rows
            yield batch if batch.schema.equals(self._schema) else batch.cast(self._schema)


def _write_file(path: str, schema: pa.Schema, batches: Iterable[pa.Table]) -> None:
    with _open_replacement(path) as stream:
        if path.endswith(".parquet"):
            with pq.ParquetWriter(stream, schema, compression="zstd") as writer:
                for batch in batches:
                    writer.write_table(batch)
        else:
            with pa_csv.CSVWriter(stream, _flatten_schema(schema)) as writer:
                for batch in batches:
                    writer.write_table(_flatten_batch(batch))


@contextmanager
def _open_replacement(path: str) -> Iterator[pa.NativeFile]:
    """Open a stream into a file that gets its name when all is written."""
    filesystem, file = filesystem_of(as_uri(path))
    filesystem.create_dir(file.rpartition("/")[0], recursive=True)
    compression = "gzip" if path.endswith(".gz") else None
    with filesystem.open_output_stream(f"{file}.new", compression=compression) as stream:
        yield stream
    filesystem.move(f"{file}.new", file)


def _write_delta(path: str, schema: pa.Schema, batches: Iterable[pa.Table]) -> None:
    if exists(as_uri(path.rstrip("/"))) and not is_delta(path):
        raise InputError(f"{path}: is there, and no Delta table: give another --output")
    storable = _to_delta_schema(schema)
    if not is_delta(path):
        _make_table(path, storable, "error")
    elif find_renamed_columns(DeltaTable(path)):
        raise InputError(f"{refusal(path, MAPPING, 'written')}; or give another --output")
    file = _write_data_file(path, storable, batches)
    # The table is the user's, wherever it is: `Warehouse` knows those of the warehouse only.
    log = DeltaTable(path)
    if pa.schema(log.schema()) != storable or log.metadata().partition_columns:
        log = _make_table(path, storable, "overwrite")
    log.create_write_transaction([file], "overwrite", log.schema())


def _to_delta_schema(schema: pa.Schema) -> pa.Schema:
    """Convert a schema to the types of a Delta table."""
    with tempfile.TemporaryDirectory() as folder:
        write_deltalake(folder, schema.empty_table())
        return pa.schema(DeltaTable(folder).schema())


def _make_table(path: str, schema: pa.Schema, mode: Literal["error", "overwrite"]) -> DeltaTable:
    if "://" not in path:
        Path(path).mkdir(parents=True, exist_ok=True)
    return DeltaTable.create(path, schema, mode=mode)


def _write_data_file(path: str, schema: pa.Schema, batches: Iterable[pa.Table]) -> AddAction:
    """Write rows in their order, which delta-rs's own writer does not keep."""
    filesystem, folder = filesystem_of(as_uri(path.rstrip("/")))
    name, rows = new_file_name(), 0
    file = f"{folder}/{name}"
    with pq.ParquetWriter(file, schema, filesystem=filesystem, compression="zstd") as writer:
        for batch in batches:
            writer.write_table(_to_delta_types(batch, schema))
            rows += batch.num_rows
    return AddAction(
        path=name,
        size=filesystem.get_file_info(file).size,
        partition_values={},
        modification_time=round(time.time() * 1000),
        data_change=True,
        stats=json.dumps({"numRecords": rows}),
    )


def _to_delta_types(batch: pa.Table, schema: pa.Schema) -> pa.Table:
    """Cast rows to other types; digits of times that Delta does not store are dropped."""
    kinds = [pc.CastOptions(kind, allow_time_truncate=True) for kind in schema.types]
    columns = zip(batch.columns, kinds, strict=True)
    return pa.Table.from_arrays([pc.cast(c, options=kind) for c, kind in columns], schema=schema)


def _flatten_schema(schema: pa.Schema) -> pa.Schema:
    """Flatten a schema for CSV: nested types become text."""
    return pa.schema(
        [pa.field(f.name, pa.string() if pa.types.is_nested(f.type) else f.type) for f in schema]
    )


def _flatten_batch(batch: pa.Table) -> pa.Table:
    arrays = [
        pa.array([None if v is None else str(v) for v in column.to_pylist()], pa.string())
        if pa.types.is_nested(column.type)
        else column
        for column in batch.columns
    ]
    return pa.Table.from_arrays(arrays, schema=_flatten_schema(batch.schema))
