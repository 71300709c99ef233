"""`make chaos`: breaks the job in every way that we know of, and prints what came of it."""

from __future__ import annotations

import argparse
import sys
import time
from fnmatch import fnmatch
from pathlib import Path

from rich.console import Console

from tools.chaos.parallel import run_all
from tools.chaos.report import summary, table, write_table
from tools.chaos.run import ending_when_asked
from tools.chaos.scenario import all_scenarios


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.chaos", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="those that `make verify` runs, too")
    parser.add_argument(
        "--only", default="*", metavar="PATTERN", help='by name, for instance "broker.*"'
    )
    parser.add_argument("--seed", type=int, default=1, help="of every choice that chance makes")
    parser.add_argument("--jobs", type=int, default=2, help="scenarios at a time (default: 2)")
    parser.add_argument("--list", action="store_true", help="print the names and end")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the table into this page")
    arguments = parser.parse_args()
    began = time.monotonic()
    chosen = [
        each
        for each in all_scenarios()
        if fnmatch(each.name, arguments.only) and (each.quick or not arguments.quick)
    ]
    if arguments.list:
        print("\n".join(each.name for each in chosen))
        return 0
    outcomes = []
    with ending_when_asked():
        for outcome in run_all(chosen, arguments.seed, arguments.jobs):
            print(f"{outcome.scenario.name}: {outcome.line}\n{outcome.error}".rstrip(), flush=True)
            outcomes.append(outcome)
    outcomes.sort(key=lambda outcome: chosen.index(outcome.scenario))
    minutes = (time.monotonic() - began) / 60
    # A file or a log is wide enough for all columns.
    Console(width=None if sys.stdout.isatty() else 220).print(table(outcomes))
    print(summary(outcomes, minutes))
    if arguments.write:
        write_table(outcomes, minutes, arguments.write)
    return 1 if any(outcome.error for outcome in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
