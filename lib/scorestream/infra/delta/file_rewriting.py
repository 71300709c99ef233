"""Rewrites data files: joins, changes or sorts their rows, in bounded memory.

delta-rs has operations for that. But if two of them replace the same files, both succeed, and every
row is there twice; so files are written here and committed by `Warehouse.replace`.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from scorestream.infra.delta.data_files import (
    COMPRESSION,
    ROW_GROUP_BYTES,
    DataFile,
    conform,
    describe_file,
    new_file_name,
)
from scorestream.infra.delta.table import Table
from scorestream.infra.error_text import error_summary
from scorestream.infra.errors import DeltaError
from scorestream.infra.storage.filesystem import delete_files, filesystem_of

# A reader of one wallet reads a group: small enough to be quick, large enough to pack well.
GROUP_ROWS: Final = 32_768
# What is sorted is written to disk several times larger than the table's compressed files.
SPILL_BYTES_PER_BYTE: Final = 20
MIN_SPILL_BYTES: Final = 1024 * 1024 * 1024
MEGABYTE: Final = 1024 * 1024
_BATCH_ROWS: Final = 4_096


class StoredFile(NamedTuple):
    """A data file of a version of a table.

    Attributes:
        name: its path in the table's folder.
        size: bytes.
        written_at: when.
        nulls: rows without a value, by column; None if not known.
    """

    name: str
    size: int
    written_at: datetime
    nulls: Mapping[str, int | None]


@dataclass(frozen=True)
class Files:
    """Data files of a table, to be rewritten.

    Attributes:
        root: the warehouse.
        schema: the columns of the table, those of other versions of this code among them.
        stored: the files.
        check: called repeatedly while they are read; raises to abort.
    """

    root: str
    table: Table
    schema: pa.Schema
    stored: Sequence[StoredFile]
    check: Callable[[], None] = lambda: None

    @property
    def names(self) -> list[str]:
        """Their paths in the table's folder."""
        return [file.name for file in self.stored]

    @property
    def size(self) -> int:
        """Bytes of them all."""
        return sum(file.size for file in self.stored)

    def rows(self) -> Iterator[pa.RecordBatch]:
        """Their rows, file after file; columns that are younger than a file are null."""
        for name in self.names:
            for batch in _rows(f"{self.root}/{self.table.name}/{name}", self.schema):
                self.check()
                yield batch


def _rows(uri: str, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    filesystem, path = filesystem_of(uri)
    with pq.ParquetFile(path, filesystem=filesystem) as file:
        for batch in file.iter_batches(_BATCH_ROWS, use_threads=False):
            yield conform(batch, schema)


def sort_rows(files: Files, column: str, memory_megabytes: int) -> Iterator[pa.RecordBatch]:
    """Sort the rows of files by a column; beyond the memory the sort spills to disk."""
    spill = max(files.size * SPILL_BYTES_PER_BYTE, MIN_SPILL_BYTES)
    with tempfile.TemporaryDirectory(prefix="scorestream-sort-") as folder:
        config: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": f"{memory_megabytes}MiB",
            "temp_directory": folder,
            "max_temp_directory_size": f"{spill // MEGABYTE}MiB",
            "preserve_insertion_order": False,
        }
        with duckdb.connect(config=config) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            rows = pa.RecordBatchReader.from_batches(files.schema, files.rows())
            connection.register("rows", rows)
            ordered = connection.sql(f'FROM rows ORDER BY "{column}" NULLS FIRST')
            yield from ordered.to_arrow_reader(_BATCH_ROWS)


def write_files(files: Files, rows: Iterable[pa.RecordBatch], target_bytes: int) -> list[DataFile]:
    """Write rows into new files of the table, each of about `target_bytes`; all files, or none.

    Raises:
        DeltaError: the source files cannot be read, or there is too little memory.
    """
    writer = _Writer(files, target_bytes)
    try:
        for batch in rows:
            files.check()
            writer.write(batch)
        return writer.close()
    except BaseException as error:
        writer.discard()
        if not isinstance(error, duckdb.Error | pa.ArrowException):
            raise
        raise DeltaError(
            f"files of {files.table.name} cannot be written anew: {error_summary(error)}"
        ) from error


class _Writer:
    """Writes row groups of `GROUP_ROWS` rows, fewer if they are large, file after file."""

    def __init__(self, files: Files, target_bytes: int) -> None:
        self._files = files
        self._target_bytes = target_bytes
        self._pending: list[pa.RecordBatch] = []
        self._rows = self._bytes = 0
        self._file: _File | None = None
        self._names: list[str] = []

    def write(self, batch: pa.RecordBatch) -> None:
        while self._rows + len(batch) >= GROUP_ROWS:
            room = GROUP_ROWS - self._rows
            self._add(batch.slice(0, room))
            self._flush()
            batch = batch.slice(room)
        self._add(batch)
        if self._bytes >= ROW_GROUP_BYTES:
            self._flush()

    def close(self) -> list[DataFile]:
        self._flush()
        self._end_file()
        files = self._files
        return [describe_file(files.root, files.table, name) for name in self._names]

    def discard(self) -> None:
        """Delete the written files, which would fill a full disk even more."""
        with contextlib.suppress(OSError, pa.ArrowException):
            self._end_file()
        for name in self._names:
            with contextlib.suppress(OSError):
                delete_files([f"{self._files.root}/{self._files.table.name}/{name}"])

    def _add(self, batch: pa.RecordBatch) -> None:
        self._pending.append(batch)
        self._rows += len(batch)
        self._bytes += batch.nbytes

    def _flush(self) -> None:
        if self._rows:
            rows = pa.Table.from_batches(self._pending).cast(self._files.schema)
            file = self._file = self._file or self._new_file()
            file.writer.write_table(rows.combine_chunks(), row_group_size=rows.num_rows)
            if file.sink.tell() >= self._target_bytes:
                self._end_file()
        self._pending, self._rows, self._bytes = [], 0, 0

    def _new_file(self) -> _File:
        name = new_file_name()
        filesystem, folder = filesystem_of(f"{self._files.root}/{self._files.table.name}")
        sink = filesystem.open_output_stream(f"{folder}/{name}")
        self._names.append(name)
        return _File(sink, pq.ParquetWriter(sink, self._files.schema, compression=COMPRESSION))

    def _end_file(self) -> None:
        if self._file is not None:
            self._file.writer.close()
            self._file.sink.close()
        self._file = None


@dataclass(frozen=True)
class _File:
    sink: pa.NativeFile
    writer: pq.ParquetWriter
