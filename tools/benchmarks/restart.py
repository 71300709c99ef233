"""A start over a large table of which the newest batch was cut off: what it reads.

    python -m tools.benchmarks.restart --folder … [--rows 100000000]

makes `scores` in the order of wallets, so that each file has offsets of all times, and prints one
JSON line: seconds and megabytes read by a start and by its first batch, in two cases. `usual`: the
rows of the batch are in a file of their own, as it was written. `clustered`: the table was
clustered after the crash, so that they lie anywhere among the others.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from scorestream.infra.delivery.coverage import Coverage, Span
from scorestream.infra.delivery.coverage_table import CoverageTable
from scorestream.infra.delivery.stream import Stream
from scorestream.infra.delivery.unpublished_rows import StoredRows, UnpublishedRows, in_ranges
from scorestream.infra.delta.data_files import describe_file, new_file_name, read_file
from scorestream.infra.delta.file_rewriting import GROUP_ROWS
from scorestream.infra.delta.warehouse import Warehouse
from scorestream.infra.kafka.consumer import OffsetRange
from scorestream.wallets.schema.tables import BATCH_TABLES, COVERAGE, SCORES
from scorestream.wallets.schema.views import CATALOG

TOPIC: Final = "wallet-transactions"
STREAM: Final = Stream("restart", TOPIC, BATCH_TABLES, COVERAGE)
BATCH: Final = 1_000
WALLET_ROWS: Final = 40
FILE_ROWS: Final = 1_000_000
# The offset of a row is its number times this, modulo the rows: a prime that leaves no order.
STEP: Final = 2_654_435_761
IO: Final = Path("/proc/self/io")


def make_table(warehouse: Warehouse, rows: int) -> None:
    """Write files of a million rows, each with offsets of all times."""
    for first in range(0, rows, FILE_ROWS):
        numbers = np.arange(first, min(first + FILE_ROWS, rows))
        _add(warehouse, _rows(numbers, numbers * STEP % rows))


def _add(warehouse: Warehouse, rows: pa.Table) -> None:
    name = new_file_name()
    uri = f"{warehouse.path(SCORES)}/{name}"
    pq.write_table(rows, uri, compression="zstd", row_group_size=GROUP_ROWS)
    warehouse.append(SCORES, [describe_file(warehouse.root, SCORES, name)], None)


def record(warehouse: Warehouse, delivered: int) -> None:
    """Record that offsets are delivered, and that the tables hold nothing else."""
    records = CoverageTable(warehouse, STREAM)
    coverage = records.newest_confirmed(0) or Coverage(TOPIC, "id")
    spans = {0: Span(0, delivered)}
    records.write(coverage.with_delivered(spans).next(records.tables(0), settled=True))


def _rows(numbers: npt.NDArray[np.int64], offsets: npt.NDArray[np.int64]) -> pa.Table:
    n = len(numbers)
    wallets, which = np.unique(numbers // WALLET_ROWS, return_inverse=True)
    keys = pa.array([f"0x{wallet:040x}" for wallet in wallets.tolist()])
    columns: dict[str, pa.Array] = {
        "wallet_key": keys.take(pa.array(which)),
        "final_score": pa.array(np.random.default_rng(int(numbers[0])).random(n) * 1000),
        "as_of": pa.array(1_700_000_000 + numbers),
        "source_topic": pa.repeat(TOPIC, n),
        "source_partition": pa.array(np.zeros(n, dtype=np.int32)),
        "source_offset": pa.array(offsets),
        "generation": pa.array(np.zeros(n, dtype=np.int32)),
    }
    arrays = [
        columns[f.name].cast(f.type) if f.name in columns else pa.nulls(n, f.type)
        for f in SCORES.columns
    ]
    return pa.Table.from_arrays(arrays, schema=SCORES.columns)


def measure_read(work: Callable[[], Any]) -> tuple[Any, dict[str, float]]:
    """What a piece of work gives, its seconds and the megabytes that it read."""
    before, started = _read_bytes(), time.perf_counter()
    result = work()
    seconds = time.perf_counter() - started
    return result, {"seconds": seconds, "megabytes": (_read_bytes() - before) / 1e6}


def _read_bytes() -> int:
    """What this process has read of files, from a disk or the system's memory."""
    [line] = [line for line in IO.read_text().splitlines() if line.startswith("rchar")]
    return int(line.split()[1])


def start(warehouse: Warehouse) -> UnpublishedRows:
    """As a start of the stream looks for what is not delivered."""
    coverage = CoverageTable(warehouse, STREAM).newest_confirmed(0)
    if coverage is None:
        raise RuntimeError("no record of coverage")
    return UnpublishedRows.find(warehouse, BATCH_TABLES, coverage, condition=[], partitions=[0])


def first_batch(stored: StoredRows, ranges: list[OffsetRange]) -> int:
    """As its tasks look for what lacks, and for what is to be published; rows found."""
    done = stored.offsets(SCORES, ranges)
    published = [
        read_file(uri, SCORES.columns, stored.condition, in_ranges(ranges)).num_rows
        for uri in stored.files[SCORES]
    ]
    if len(done) != sum(published):
        raise RuntimeError(f"{len(done)} keys, {sum(published)} rows")
    return sum(published)


def restart(warehouse: Warehouse, end: int) -> dict[str, dict[str, float]]:
    """A start, and the batch of the offsets up to `end`."""
    unpublished, starting = measure_read(lambda: start(warehouse))
    ranges = [OffsetRange(TOPIC, 0, end - BATCH, end)]
    stored = unpublished.within(ranges)
    if stored is None:
        raise RuntimeError("nothing is stored of the newest batch")
    found_rows, batch = measure_read(lambda: first_batch(stored, ranges))
    if found_rows != BATCH:
        raise RuntimeError(f"{found_rows} rows of {BATCH}")
    return {"start": starting, "batch": batch}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=100_000_000)
    arguments = parser.parse_args()
    rows = arguments.rows
    warehouse = Warehouse(str(arguments.folder / "restart"), CATALOG)
    warehouse.create_tables()
    record(warehouse, rows - BATCH)
    make_table(warehouse, rows)
    output = {"rows": rows, "megabytes": warehouse.size(SCORES) / 1e6}
    output["files"] = warehouse.file_count(SCORES)
    clustered = restart(warehouse, rows)
    record(warehouse, rows)
    newest = np.arange(rows, rows + BATCH)
    _add(warehouse, _rows(newest, newest))
    print(json.dumps(output | {"usual": restart(warehouse, rows + BATCH), "clustered": clustered}))


if __name__ == "__main__":
    main()
