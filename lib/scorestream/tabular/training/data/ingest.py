"""Reads tables: CSV, Parquet, Delta, or SQL over the warehouse, without a JVM.

CSV comes as text, below a header: what a value means is for `validation` to say.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError as DeltaRsError

from scorestream.infra.delta.duckdb_reader import connect, refresh
from scorestream.infra.delta.table_features import read_table_batches
from scorestream.infra.delta.warehouse import Warehouse
from scorestream.infra.error_text import error_summary
from scorestream.infra.errors import DeltaError, InputError
from scorestream.infra.storage.csv_files import csv_batches, refuse_repeated_names
from scorestream.infra.storage.filesystem import (
    as_uri,
    exists,
    filesystem_of,
    find_files,
)
from scorestream.tabular.training.data.schemas import merge_schemas

BATCH_ROWS: Final = 65_536
CSV_ENDINGS: Final = (".csv", ".csv.gz")
_UNREADABLE: Final = (OSError, pa.ArrowException, DeltaRsError)


def read_at_most(path: str, most: int) -> pa.Table | None:
    """Read all rows of a table; None if there are more than `most`.

    Raises:
        InputError: there is none, it cannot be read, or it holds no row.
    """
    batches, rows = [], 0
    for batch in read_batches(path):
        batches.append(batch)
        rows += batch.num_rows
        if rows > most:
            return None
    if not rows:
        raise InputError(f"{path}: holds no row: give a table with rows")
    return pa.concat_tables(batches).combine_chunks()


def read_sample(path: str, most: int) -> tuple[pa.Table, int]:
    """Read a random sample of a table, in order, and count its rows.

    The same at each reading.

    Raises:
        InputError: there is none, it cannot be read, or it holds no row.
    """
    random, kept, chances = np.random.default_rng(0), [], np.empty(0)
    share, count = 1.0, 0
    for batch in read_batches(path):
        chance = random.random(batch.num_rows)
        count += batch.num_rows
        kept.append(batch.filter(pa.array(chance < share)))
        chances = np.append(chances, chance[chance < share])
        while len(chances) > most:
            share /= 2
            kept = [pa.concat_tables(kept).filter(pa.array(chances < share))]
            chances = chances[chances < share]
    if not count:
        raise InputError(f"{path}: holds no row: give a table with rows")
    return pa.concat_tables(kept).combine_chunks(), count


def read_batches(path: str) -> Iterator[pa.Table]:
    """The rows of a table in their order, some at a time; an empty table gives one empty batch.

    Args:
        path: a CSV file (`.csv`, `.csv.gz`), a Parquet file or folder, a Delta table's folder; or
            the URI of one.

    Raises:
        InputError: there is none, or it cannot be read.
    """
    try:
        for batch in _batches(path):
            refuse_repeated_names(path, batch.schema.names)
            yield batch
    except DeltaError as error:
        raise InputError(str(error)) from None
    except _UNREADABLE as error:
        raise InputError(f"{path}: cannot be read: {error_summary(error)}") from None


def query_table(sql: str, warehouse: Warehouse, most: int) -> pa.Table:
    """The rows of a statement over the warehouse's tables and views.

    Raises:
        InputError: the statement fails, or gives no row, or more than so many.
        DeltaError: a table cannot be read.
    """
    with connect(warehouse.catalog) as connection:
        refresh(connection, warehouse, sql)
        try:
            # One more than wanted tells that there are more.
            rows = connection.sql(sql).limit(most + 1).to_arrow_table()
        except duckdb.Error as error:
            raise InputError(f"sql: {str(error).splitlines()[0]}") from None
    if not rows.num_rows:
        raise InputError("sql: gives no row: check the statement and SCORESTREAM_WAREHOUSE")
    if rows.num_rows > most:
        raise InputError(
            f"sql: gives more than collect_at_most, {most:,} rows: let the statement take a sample "
            "(USING SAMPLE), or store its rows as a table (table:), which Spark can read"
        )
    return rows


def spark_format(path: str) -> str:
    """How Spark calls the format of a table."""
    if path.endswith(CSV_ENDINGS):
        return "csv"
    return "delta" if is_delta(path) else "parquet"


def is_delta(path: str) -> bool:
    """Whether there is a Delta table at a path or URI."""
    return exists(f"{as_uri(path.rstrip('/'))}/_delta_log")


def _batches(path: str) -> Iterator[pa.Table]:
    uri = as_uri(path.rstrip("/"))
    if not exists(uri):
        raise InputError(f"{path}: no such file")
    if is_delta(path):
        yield from read_table_batches(DeltaTable(path))
    elif path.endswith(CSV_ENDINGS):
        yield from csv_batches(uri)
    else:
        files = [file for file, _ in find_files(uri) if file.endswith(".parquet")]
        if not files:
            raise InputError(f"{path}: is no .csv, .csv.gz, .parquet or Delta table")
        yield from _parquet_batches(files)


def _parquet_batches(uris: Sequence[str]) -> Iterator[pa.Table]:
    schema = merge_schemas(uris)
    yield schema.empty_table()
    for uri in uris:
        filesystem, path = filesystem_of(uri)
        with pq.ParquetFile(path, filesystem=filesystem) as file:
            for batch in file.iter_batches(BATCH_ROWS):
                yield pa.Table.from_batches([batch]).select(schema.names).cast(schema)
