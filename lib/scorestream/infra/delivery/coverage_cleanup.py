"""Deletes records of coverage that newer ones supersede."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from scorestream.infra.delta.data_files import read_file, write_file
from scorestream.infra.delta.table import Table
from scorestream.infra.delta.warehouse import Warehouse

# So far back it is known what was delivered, where a table is brought back from a copy.
RECORDS_KEPT: Final = 1000
_READER_THREADS: Final = 8
_PASS: Final = ["source_topic", "generation"]


def drop_superseded(warehouse: Warehouse, coverage: Table, count: int = RECORDS_KEPT) -> None:
    """Keep only the newest records of each generation, in one file.

    Args:
        warehouse: whose upkeep this process has.
        coverage: the table of records.
        count: how many records of a pass.

    Raises:
        CommitFailedError: somebody else has replaced the files meanwhile.
    """
    files = warehouse.files(coverage)
    if not files:
        return
    rows = _all_rows(files, coverage.columns)
    left = _newest(rows, count)
    if left.num_rows == rows.num_rows:
        return
    left = left.sort_by([(name, "ascending") for name in (*_PASS, "sequence")])
    left = left.select(coverage.columns.names).cast(coverage.columns)
    written = write_file(warehouse.root, coverage, left)
    names = [uri.rpartition("/")[2] for uri in files]
    warehouse.replace(coverage, names, written, "compact_tables")


def _newest(rows: pa.Table, count: int) -> pa.Table:
    newest = rows.group_by(_PASS).aggregate([("sequence", "max")])
    of_pass = rows.join(newest, _PASS)
    return of_pass.filter(
        pc.greater(of_pass["sequence"], pc.subtract(of_pass["sequence_max"], count))
    )


def _all_rows(files: Sequence[str], columns: pa.Schema) -> pa.Table:
    with ThreadPoolExecutor(_READER_THREADS) as pool:
        return pa.concat_tables(pool.map(partial(read_file, columns=columns), files))
