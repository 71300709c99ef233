"""Tables as output, some rows at a time: CSV, Parquet or Delta by the path's ending."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from deltalake import write_deltalake
from deltalake.exceptions import DeltaError as DeltaRsError

from scorestream.errors import InputError
from scorestream.io.filesystem import as_uri, exists, filesystem_of
from scorestream.training.ingest import CSV_ENDINGS, is_delta

_UNWRITABLE: Final = (OSError, pa.ArrowException, DeltaRsError)


def write_batches(path: str, schema: pa.Schema, batches: Iterable[pa.Table]) -> int:
    """Write rows in their order; how many they were.

    Args:
        path: .csv, .csv.gz and .parquet are files, which are overwritten when all is written; any
            other path is a Delta table, whose content is replaced in one commit.

    Raises:
        InputError: it cannot be written, or there is something else.
    """
    counted = _Counted(batches)
    try:
        if path.endswith((*CSV_ENDINGS, ".parquet")):
            _write_file(path, schema, counted)
        else:
            _write_delta(path, schema, counted)
    except _UNWRITABLE as error:
        raise InputError(f"{path}: cannot be written: {str(error).splitlines()[0]}") from None
    return counted.rows


class _Counted:
    """Batches that are counted while they pass."""

    def __init__(self, batches: Iterable[pa.Table]) -> None:
        self._batches = batches
        self.rows = 0

    def __iter__(self) -> Iterator[pa.Table]:
        for batch in self._batches:
            self.rows += batch.num_rows
            yield batch


def _write_file(path: str, schema: pa.Schema, batches: Iterable[pa.Table]) -> None:
    with _replaced(path) as stream:
        if path.endswith(".parquet"):
            with pq.ParquetWriter(stream, schema, compression="zstd") as writer:
                for batch in batches:
                    writer.write_table(batch)
        else:
            with pa_csv.CSVWriter(stream, _flat(schema)) as writer:
                for batch in batches:
                    writer.write_table(_with_flat(batch))


@contextmanager
def _replaced(path: str) -> Iterator[pa.NativeFile]:
    """A stream into a file that has its name only when all is written."""
    filesystem, file = filesystem_of(as_uri(path))
    filesystem.create_dir(file.rpartition("/")[0], recursive=True)
    compression = "gzip" if path.endswith(".gz") else None
    with filesystem.open_output_stream(f"{file}.new", compression=compression) as stream:
        yield stream
    filesystem.move(f"{file}.new", file)


def _write_delta(path: str, schema: pa.Schema, batches: Iterable[pa.Table]) -> None:
    if exists(as_uri(path.rstrip("/"))) and not is_delta(path):
        raise InputError(f"{path}: is there, and no Delta table: give another --output")
    rows = (record for batch in batches for record in batch.to_batches())
    reader = pa.RecordBatchReader.from_batches(schema, rows)
    write_deltalake(path, reader, mode="overwrite", schema_mode="overwrite")


def _flat(schema: pa.Schema) -> pa.Schema:
    """A schema that CSV can hold: what is nested becomes text."""
    return pa.schema(
        [pa.field(f.name, pa.string() if pa.types.is_nested(f.type) else f.type) for f in schema]
    )


def _with_flat(batch: pa.Table) -> pa.Table:
    arrays = [
        pa.array([None if v is None else str(v) for v in column.to_pylist()], pa.string())
        if pa.types.is_nested(column.type)
        else column
        for column in batch.columns
    ]
    return pa.Table.from_arrays(arrays, schema=_flat(batch.schema))
