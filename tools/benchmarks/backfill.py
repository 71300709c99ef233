"""Backfills of files and of the stored history, again and again in one warm JVM.

    python -m tools.benchmarks.backfill --folder … [--messages 20000] [--cores 2] [--repeats 5]

prints one JSON line: seconds of each repeat, from the plan to the last commit.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import time
from pathlib import Path

from scorestream.infra.logs import configure_logs
from scorestream.wallets.backfill.job import run_backfill
from scorestream.wallets.backfill.planning import BackfillOptions
from tools.benchmarks.machine import Site, resident_megabytes, size_of
from tools.benchmarks.workload import AS_OF, Workload
from tools.local.session import local_session


def time_runs(
    site: Site, options: BackfillOptions, repeats: int, warehouse: str | None
) -> list[float]:
    """Seconds of repeated runs, without the first, each into a warehouse of its own."""
    seconds = []
    for _ in range(repeats + 1):
        settings = site.settings(include_transactions=False)
        if warehouse is not None:
            settings = settings.model_copy(update={"scorestream_warehouse": warehouse})
        started = time.perf_counter()
        with contextlib.redirect_stdout(sys.stderr):
            run_backfill(options, settings)
        seconds.append(time.perf_counter() - started)
    return seconds[1:]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--messages", type=int, default=20_000)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    configure_logs("WARNING")
    site = Site(arguments.folder, "127.0.0.1:1")
    workload = Workload(arguments.messages)
    lines = str(site.lines(workload))
    local_session(arguments.cores, str(site.folder / "spark"))
    files = time_runs(site, BackfillOptions(lines, (AS_OF,)), arguments.repeats, None)

    with_history = site.settings(include_transactions=True)
    with contextlib.redirect_stdout(sys.stderr):
        run_backfill(BackfillOptions(lines, (AS_OF,)), with_history)
    stored = with_history.warehouse
    history = time_runs(site, BackfillOptions("transactions"), arguments.repeats, stored)
    figures = {
        "files": files,
        "history": history,
        "messages": arguments.messages,
        "megabytes": size_of(site.records(workload)),
        "memory": resident_megabytes(os.getpid()),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
