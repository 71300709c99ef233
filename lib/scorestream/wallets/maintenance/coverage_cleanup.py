"""Deletes records of `coverage` that newer ones supersede."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from scorestream.infra.delta.data_files import read_file, write_file
from scorestream.infra.delta.warehouse import Warehouse
from scorestream.wallets.schema.tables import COVERAGE

# So far back it can be told what was delivered, where a table is brought back from a copy.
KEPT: Final = 1000
_READERS: Final = 8
_PASS: Final = ["source_topic", "generation"]


def drop_superseded(warehouse: Warehouse, count: int = KEPT) -> None:
    """Keep only the newest records of each generation, in one file.

    Args:
        warehouse: whose upkeep this process has.
        count: how many records of a pass.

    Raises:
        CommitFailedError: somebody else has replaced the files meanwhile.
    """
    files = warehouse.files(COVERAGE)
    if not files:
        return
    rows = _all_rows(files)
    newest = rows.group_by(_PASS).aggregate([("sequence", "max")])
    of_pass = rows.join(newest, _PASS)
    left = of_pass.filter(
        pc.greater(of_pass["sequence"], pc.subtract(of_pass["sequence_max"], count))
    )
    if left.num_rows == rows.num_rows:
        return
    left = left.sort_by([(name, "ascending") for name in (*_PASS, "sequence")])
    left = left.select(COVERAGE.columns.names).cast(COVERAGE.columns)
    written = write_file(warehouse.root, COVERAGE, left)
    names = [uri.rpartition("/")[2] for uri in files]
    warehouse.replace(COVERAGE, names, written, "compact_tables")


def _all_rows(files: Sequence[str]) -> pa.Table:
    with ThreadPoolExecutor(_READERS) as pool:
        return pa.concat_tables(pool.map(partial(read_file, columns=COVERAGE.columns), files))
