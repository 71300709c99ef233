"""What a commit costs when a table is old: made, not waited for.

    python -m tools.benchmarks.aged --folder … --commits 1000000 [--removed 400000] [--tidy]

writes the log of a table that so many commits have been made to, the newest of them two hours ago;
as many files as `--removed` says were joined with others then. It prints one JSON line: the entries
that the log has, milliseconds of further commits (every 20th writes a checkpoint), and the memory
they take. With `--tidy` the table is one of this version, which a stream has tidied twice a minute;
else it is one of an earlier version, whose log has every entry.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import time
from pathlib import Path
from typing import Final

from deltalake import DeltaTable

from scorestream.infra.delta.auto_maintenance import VERSIONS_KEPT, maintain_table
from scorestream.infra.delta.optimize import make_checkpoint
from scorestream.infra.delta.warehouse import Warehouse
from scorestream.wallets.schema.tables import TRANSACTIONS
from scorestream.wallets.schema.views import CATALOG
from tools.benchmarks.run import run_json

RUN: Final = "run/transactions"
HOURS_AGO: Final = 2
# At two batches a second.
TIDIED_EVERY: Final = 60
# Two checkpoints are among them.
MEASURED: Final = 40
# As an earlier version had it: 30 days of versions, a week of removed files.
AS_EVER: Final = {
    "delta.logRetentionDuration": "interval 30 days",
    "delta.deletedFileRetentionDuration": "interval 7 days",
}


def make_log(warehouse: Warehouse, commits: int, removed: int, *, kept: bool) -> None:
    """Write the log of a table; no data files, which no commit looks at."""
    warehouse.create_table(TRANSACTIONS)
    table = DeltaTable(warehouse.path(TRANSACTIONS))
    if kept:
        table.alter.set_table_properties(AS_EVER)
    log = Path(warehouse.path(TRANSACTIONS), "_delta_log")
    first = table.version() + 1
    moment = round((time.time() - HOURS_AGO * 3600) * 1000)
    _write(log, first, [_removed_actions(number, moment) for number in range(removed)])
    DeltaTable(warehouse.path(TRANSACTIONS)).create_checkpoint()
    begin = first if kept else max(first, commits - VERSIONS_KEPT - TIDIED_EVERY)
    for version in range(begin + 1, commits + 1):
        _write(log, version, [])
    _copy_checkpoint(log, first, [commits - VERSIONS_KEPT - 1, commits - 1])
    for entry in log.iterdir():
        os.utime(entry, (moment / 1000, moment / 1000))


def _write(log: Path, version: int, actions: list[dict[str, object]]) -> None:
    mark = {"txn": {"appId": RUN, "version": version}}
    info = {"commitInfo": {"timestamp": 0, "operation": "WRITE"}}
    entry = "\n".join(json.dumps(line) for line in [info, mark, *actions])
    (log / f"{version:020}.json").write_text(entry, encoding="utf-8")


def _removed_actions(number: int, moment: int) -> dict[str, object]:
    path = f"part-{number:08}-0000-0000-0000-000000000000.zstd.parquet"
    return {"remove": {"path": path, "dataChange": False, "deletionTimestamp": moment}}


def _copy_checkpoint(log: Path, source_version: int, versions: list[int]) -> None:
    """What the first says is what later ones would say, but for the mark."""
    for version in versions:
        if version > source_version:
            name = "{:020}.checkpoint.parquet"
            shutil.copy(log / name.format(source_version), log / name.format(version))
            note = json.loads((log / "_last_checkpoint").read_text(encoding="utf-8"))
            text = json.dumps(note | {"version": version})
            (log / "_last_checkpoint").write_text(text, encoding="utf-8")


def commit_all(warehouse: Warehouse) -> dict[str, object]:
    """Milliseconds of commits, one after the other, and the process's memory."""
    durations = []
    begin = warehouse.transaction_version(TRANSACTIONS, RUN) or 0
    before = resident()
    for number in range(1, MEASURED + 1):
        started = time.perf_counter()
        warehouse.mark(TRANSACTIONS, (RUN, begin + number))
        durations.append((time.perf_counter() - started) * 1000)
    return {"milliseconds": durations, "megabytes": resident() - before}


def resident() -> float:
    """The most memory that this process has had, in MB."""
    # What `resource` tells may be that of the process that started this one.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) / 1024


def maintain(warehouse: Warehouse) -> float:
    """Tidy, as a stream does beside its batches; seconds."""
    started = time.perf_counter()
    maintain_table(warehouse, TRANSACTIONS)
    make_checkpoint(warehouse, TRANSACTIONS)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--commits", type=int, help="make the table first")
    parser.add_argument("--removed", type=int, default=0)
    parser.add_argument("--tidy", action="store_true")
    arguments = parser.parse_args()
    warehouse = Warehouse(str(arguments.folder / "aged"), CATALOG)
    if arguments.commits is None:
        print(json.dumps(commit_all(warehouse)))
        return
    make_log(warehouse, arguments.commits, arguments.removed, kept=not arguments.tidy)
    seconds = maintain(warehouse) if arguments.tidy else None
    entries = sum(1 for _ in Path(warehouse.path(TRANSACTIONS), "_delta_log").iterdir())
    # Another process, which has not made the table, has the memory of commits alone.
    figures = run_json("tools.benchmarks.aged", f"--folder={arguments.folder}")
    shutil.rmtree(warehouse.root)
    print(
        json.dumps({"commits": arguments.commits, "entries": entries, "tidied": seconds, **figures})
    )


if __name__ == "__main__":
    main()
