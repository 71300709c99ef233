"""CSV files as Spark's rows: read in the tasks as everywhere else, a file in one task."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final
from urllib.parse import unquote

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import StringType, StructField, StructType

from scorestream.infra.errors import InputError
from scorestream.infra.spark.remote_errors import marked_errors
from scorestream.infra.storage.csv_files import csv_batches, csv_header

_MAX_TASKS: Final = 1_000
_HEADERS_AT_ONCE: Final = 16
_NO_VALUE: Final = "__HIVE_DEFAULT_PARTITION__"


def csv_rows(
    spark: SparkSession, files: Sequence[tuple[str, int]], folder: str, *, nulls: bool
) -> DataFrame:
    """The rows of files that have the same columns, in whatever order, as text.

    Args:
        spark: reads.
        files: URIs and sizes; an empty file beside others has no rows.
        folder: URI below which folders called `column=value` give a column.
        nulls: whether what has nothing between two commas is null; else it is "".

    Raises:
        InputError: a file has no header, or other columns than the first.
    """
    uris = [uri for uri, size in files if size] or [uri for uri, _ in files]
    with ThreadPoolExecutor(_HEADERS_AT_ONCE) as pool:
        headers = list(pool.map(csv_header, uris))
    partitions = [_partition(uri, folder) for uri in uris]
    names = [*headers[0], *(n for n in partitions[0] if n not in headers[0])]
    for uri, header, partition in zip(uris, headers, partitions, strict=True):
        other = set(names) ^ {*header, *partition}
        if other:
            told = ", ".join(map(repr, sorted(other)))
            raise InputError(f"{uri}: column {told} is not in all files of the table")
    tasks = min(len(uris), _MAX_TASKS)
    schema = StructType([StructField(name, StringType()) for name in names])
    return spark.range(0, len(uris), 1, tasks).mapInArrow(
        _reading(uris, partitions, names, nulls=nulls), schema
    )


def _reading(
    uris: Sequence[str],
    partitions: Sequence[Mapping[str, str | None]],
    names: Sequence[str],
    *,
    nulls: bool,
) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """What a task does: the numbers of files → their rows."""

    def read(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        numbers = (n for batch in batches for n in batch.column(0).to_pylist())
        with marked_errors():
            for number in numbers:
                for rows in csv_batches(uris[number], nulls=nulls):
                    yield from _whole(rows, partitions[number]).select(names).to_batches()

    return read


def _whole(rows: pa.Table, partition: Mapping[str, str | None]) -> pa.Table:
    """Rows with the columns that their folder gives; in Spark, too, these have the last word."""
    for name, value in partition.items():
        column = pa.array([value] * rows.num_rows, pa.string())
        place = rows.column_names.index(name) if name in rows.column_names else -1
        if place < 0:
            rows = rows.append_column(name, column)
        else:
            rows = rows.set_column(place, name, column)
    return rows


def _partition(uri: str, folder: str) -> dict[str, str | None]:
    """The columns that the folders of a file between it and another folder stand for."""
    parts = uri.removeprefix(folder.rstrip("/")).split("/")[:-1]
    pairs = (unquote(part).partition("=") for part in parts if "=" in unquote(part))
    return {name: None if value == _NO_VALUE else unquote(value) for name, _, value in pairs}
