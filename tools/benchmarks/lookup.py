"""One wallet's history out of many rows of `transactions`, sorted by wallet, by each reader.

    python -m tools.benchmarks.lookup --folder … [--rows 10000000] [--cores 2] [--repeats 20]

makes the table unless the folder is there, and prints one JSON line: milliseconds of each lookup,
every time of another wallet; the first is the reader's first.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from deltalake import WriterProperties, write_deltalake

from scorestream.infra.delta.duckdb_reader import connect, refresh
from scorestream.infra.delta.spark_reader import register
from scorestream.infra.delta.warehouse import Warehouse
from scorestream.wallets.core import schemas
from scorestream.wallets.execution.history_lookup import read_wallets, wallet_files
from scorestream.wallets.schema.tables import TRANSACTIONS
from scorestream.wallets.schema.views import CATALOG
from tools.benchmarks.workload import AS_OF, YEAR_SECONDS
from tools.local.session import local_session

WALLET_ROWS: Final = 40
FILE_ROWS: Final = 500_000
GROUP_ROWS: Final = 32_768

Lookup = Callable[[str], int]


def wallet_of(number: int) -> str:
    """The key of the wallet with that number; keys sort as numbers do."""
    return f"0x{number * 0x9E3779B9:040x}"


def make_table(warehouse: Warehouse, rows: int) -> None:
    """Write the table: files of half a million rows, row groups of 32 768."""
    warehouse.create_tables()
    properties = WriterProperties(compression="ZSTD", max_row_group_size=GROUP_ROWS)
    for part in _parts(rows):
        write_deltalake(
            warehouse.path(TRANSACTIONS), part, mode="append", writer_properties=properties
        )


def _parts(rows: int) -> Iterator[pa.Table]:
    for first in range(0, rows, FILE_ROWS):
        yield _rows(np.arange(first, min(first + FILE_ROWS, rows)))


def _rows(numbers: npt.NDArray[np.int64]) -> pa.Table:
    rng = np.random.default_rng(int(numbers[0]))
    n = len(numbers)
    keys = pa.array([wallet_of(i) for i in (numbers // WALLET_ROWS).tolist()])
    columns: dict[str, pa.Array] = {
        "wallet_address": keys,
        "wallet_key": keys,
        "document_id": pa.array([f"0x{text}" for text in _hex(rng, n, 32)]),
        "action": pa.repeat(pa.scalar("swap"), n),
        "timestamp": pa.array(AS_OF - rng.integers(0, YEAR_SECONDS, n)),
        "protocol": _chosen(rng, n, ["uniswap_v2", "uniswap_v3", "curve"]),
        "pool_id": _chosen(rng, n, [f"0x{text}" for text in _hex(rng, 2_000, 20)]),
        "usd_value": pa.array(rng.lognormal(6, 2, n).round(2)),
        "token_in": _leg(rng, n),
        "token_out": _leg(rng, n),
        "as_of": pa.repeat(pa.scalar(AS_OF), n),
        "source_offset": pa.array(numbers // WALLET_ROWS),
    }
    arrays = [
        columns[f.name].cast(f.type) if f.name in columns else pa.nulls(n, f.type)
        for f in TRANSACTIONS.columns
    ]
    return pa.Table.from_arrays(arrays, schema=TRANSACTIONS.columns)


def _leg(rng: np.random.Generator, n: int) -> pa.StructArray:
    symbols = _chosen(rng, n, ["WETH", "USDC", "DAI", "WBTC"])
    amounts = pa.array(rng.integers(10**15, 10**18, n)).cast(pa.string())
    usd = pa.array(rng.lognormal(6, 2, n).round(2))
    arrays = [amounts, usd, pa.nulls(n, pa.string()), symbols]
    return pa.StructArray.from_arrays(arrays, fields=list(schemas.LEG))


def _chosen(rng: np.random.Generator, n: int, values: list[str]) -> pa.Array:
    return pa.array(values).take(pa.array(rng.integers(0, len(values), n)))


def _hex(rng: np.random.Generator, n: int, size: int) -> list[str]:
    text = rng.bytes(n * size).hex()
    return [text[i : i + 2 * size] for i in range(0, len(text), 2 * size)]


def lookups(warehouse: Warehouse, cores: int) -> dict[str, Lookup]:
    """Each reader: from a wallet to the number of its rows."""
    spark = local_session(cores, f"{warehouse.root}/spark")
    register(spark, warehouse)
    duck = connect(CATALOG)
    duck.execute(f"SET threads = {cores}")

    def by_spark(view: str, wallet: str) -> int:
        return len(spark.sql(_statement(view, wallet)).collect())

    def by_duckdb(view: str, wallet: str) -> int:
        statement = _statement(view, wallet)
        refresh(duck, warehouse, statement)
        return len(duck.execute(statement).fetchall())

    readers: dict[str, Lookup] = {
        "lookup": lambda wallet: read_wallets(wallet_files(warehouse), [wallet]).num_rows
    }
    for view in ("transactions", "wallet_transactions"):
        readers[f"Spark, {view}"] = partial(by_spark, view)
        readers[f"DuckDB, {view}"] = partial(by_duckdb, view)
    return readers


def _statement(view: str, wallet: str) -> str:
    return f"SELECT * FROM {view} WHERE wallet_key = '{wallet}'"  # noqa: S608


def time_runs(lookup: Lookup, wallets: list[str]) -> list[float]:
    """Milliseconds of each wallet's lookup."""
    milliseconds = []
    for wallet in wallets:
        started = time.perf_counter()
        count = lookup(wallet)
        milliseconds.append((time.perf_counter() - started) * 1000)
        if count != WALLET_ROWS:
            raise RuntimeError(f"{count} rows of {wallet}, expected {WALLET_ROWS}")
    return milliseconds


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=20)
    arguments = parser.parse_args()
    warehouse = Warehouse(str(arguments.folder / "warehouse"), CATALOG)
    if not arguments.folder.exists():
        make_table(warehouse, arguments.rows)
    rng = np.random.default_rng(1)
    figures = {}
    for name, lookup in lookups(warehouse, arguments.cores).items():
        numbers = rng.integers(0, arguments.rows // WALLET_ROWS, arguments.repeats + 1)
        figures[name] = time_runs(lookup, [wallet_of(int(i)) for i in numbers])
    print(json.dumps({"rows": arguments.rows, "milliseconds": figures}))


if __name__ == "__main__":
    main()
