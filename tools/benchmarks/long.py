"""Backfills of generated wallets out of a table, each a process of its own: time, memory, bytes.

    python -m tools.benchmarks.long --folder … --wallets 250000

prints one JSON line. The table has a log-normal number of transactions a wallet, the rows of a
wallet lie anywhere, and no wallet is like another; it is made file by file, so that it may be
larger than memory.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import DeltaTable

from scorestream.infra.config.settings import PROJECT_ROOT
from tools.benchmarks.machine import (
    MEGABYTE,
    Site,
    environment_of,
    resident_megabytes,
)

FILE_WALLETS = 50_000
MEAN_TRANSACTIONS = 38
START, END = 1_600_000_000, 1_700_000_000
SYMBOLS = pa.array(["USDC", "WETH", "DAI", "WBTC", "UNI", "LINK", "USDT", "stETH"])
ACTIONS = pa.array(["swap", "deposit", "withdraw"])
SAMPLE_SECONDS = 0.5


def write_table(folder: Path, wallets: int) -> None:
    """Write a flat table of transactions; every file has some of each wallet of its part."""
    folder.mkdir()
    for number, first in enumerate(range(0, wallets, FILE_WALLETS)):
        rows = _rows(np.random.default_rng(number), first, min(FILE_WALLETS, wallets - first))
        pq.write_table(rows, folder / f"part-{number:04}.parquet", compression="zstd")


def _rows(rng: np.random.Generator, first: int, wallets: int) -> pa.Table:
    sigma = 1.0
    counts = rng.lognormal(np.log(MEAN_TRANSACTIONS) - sigma**2 / 2, sigma, wallets)
    owner = np.repeat(np.arange(wallets), np.clip(counts, 1, 800).astype(np.int64))
    rng.shuffle(owner)
    n = len(owner)
    names = pa.array(
        [f"0x{(first + i) * 0x9E3779B97F4A7C15 % 2**160:040x}" for i in range(wallets)]
    )
    pools = pa.array([f"0x{i * 0x517CC1B727220A95 % 2**160:040x}" for i in range(2000)])
    swap = rng.integers(0, 10, n)
    action = np.where(swap < 7, 0, np.where(swap < 9, 1, 2))
    usd = pa.array(np.round(rng.lognormal(6, 2, n), 2))
    of_swap = pa.array(action == 0)
    symbols = [SYMBOLS.take(pa.array(rng.integers(0, len(SYMBOLS), n))) for _ in range(2)]
    nothing = pa.scalar(None, pa.float64())
    ids = pa.array(np.arange(n)).cast(pa.string())
    return pa.table(
        {
            "wallet_address": names.take(pa.array(owner)),
            "document_id": pc.binary_join_element_wise(str(first), ids, ":"),
            "action": ACTIONS.take(pa.array(action)),
            "timestamp": pa.array(rng.integers(START, END, n)),
            "protocol": pa.repeat("uniswap_v3", n),
            "pool_id": pools.take(pa.array(rng.integers(0, len(pools), n))),
            "token_in_amount_usd": pc.if_else(of_swap, usd, nothing),
            "token_in_symbol": symbols[0],
            "token_out_symbol": symbols[1],
            "token0_amount_usd": pc.if_else(of_swap, nothing, usd),
        }
    )


@dataclass
class _Memory:
    """The most that a process and its children held."""

    pid: int
    jvm: float = 0.0
    python: float = 0.0

    def watch(self, done: threading.Event) -> None:
        while not done.wait(SAMPLE_SECONDS):
            memory = resident_megabytes(self.pid)
            self.jvm = max(self.jvm, memory["jvm"])
            self.python = max(self.python, memory["python"])


def backfill(site: Site, wallets: int) -> dict[str, float]:
    """Write the table, score it by the product's own command, and say what that took."""
    table = site.folder / f"table-{wallets}"
    write_table(table, wallets)
    settings = site.settings(include_transactions=True)
    command = [str(PROJECT_ROOT / "spark-submit.sh"), "backfill_scores"]
    options = [f"--input={table}", "--format=parquet", f"--as-of={END}", "--run-id=long"]
    started = time.perf_counter()
    job = subprocess.Popen([*command, *options], env=environment_of(settings))
    memory, done = _Memory(job.pid), threading.Event()
    watching = threading.Thread(target=memory.watch, args=(done,))
    watching.start()
    code = job.wait()
    seconds = time.perf_counter() - started
    done.set()
    watching.join()
    if code != 0:
        raise RuntimeError(f"the backfill of {wallets} wallets ended with {code}")
    tables = [DeltaTable(f"{settings.warehouse}/{name}") for name in ("scores", "transactions")]
    sizes = [pa.table(each.get_add_actions(flatten=True)) for each in tables]
    scores, transactions = (pc.sum(each["num_records"]).as_py() for each in sizes)
    return {
        "wallets": scores,
        "transactions": transactions,
        "seconds": seconds,
        "jvm": memory.jvm,
        "python": memory.python,
        "read": sum(path.stat().st_size for path in table.iterdir()) / MEGABYTE,
        "written": sum(pc.sum(each["size_bytes"]).as_py() for each in sizes) / MEGABYTE,
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--wallets", type=int, default=250_000)
    arguments = parser.parse_args()
    print(json.dumps(backfill(Site(arguments.folder, "127.0.0.1:1"), arguments.wallets)))


if __name__ == "__main__":
    main()
