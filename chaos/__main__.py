"""`make chaos`: breaks the job in every way that we know of, and prints what came of it."""

from __future__ import annotations

import argparse
import sys
import tempfile
from fnmatch import fnmatch
from pathlib import Path

from rich.console import Console

from chaos.report import summary, table, write_table
from chaos.run import Outcome, broker_and_proxy, run
from chaos.scenario import Scenario, all_scenarios


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m chaos", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="those that `make test` runs, too")
    parser.add_argument(
        "--only", default="*", metavar="PATTERN", help='by name, for instance "broker.*"'
    )
    parser.add_argument("--seed", type=int, default=1, help="of every choice that chance makes")
    parser.add_argument("--list", action="store_true", help="print the names and end")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the table into this page")
    arguments = parser.parse_args()
    chosen = [
        each
        for each in all_scenarios()
        if fnmatch(each.name, arguments.only) and (each.quick or not arguments.quick)
    ]
    if arguments.list:
        print("\n".join(each.name for each in chosen))
        return 0
    outcomes = _run_all(chosen, arguments.seed)
    # A file or a log is wide enough for all columns.
    Console(width=None if sys.stdout.isatty() else 220).print(table(outcomes))
    print(summary(outcomes))
    if arguments.write:
        write_table(outcomes, arguments.write)
    return 1 if any(outcome.error for outcome in outcomes) else 0


def _run_all(chosen: list[Scenario], seed: int) -> list[Outcome]:
    outcomes = []
    with (
        tempfile.TemporaryDirectory(prefix="scorestream-chaos-") as folder,
        broker_and_proxy(Path(folder)) as (broker, proxy),
    ):
        for each in chosen:
            print(f"{each.name} …", flush=True)
            outcomes.append(run(each, Path(folder), broker, proxy, seed))
            print(f"  {outcomes[-1].line}\n{outcomes[-1].error}".rstrip(), flush=True)
    return outcomes


if __name__ == "__main__":
    sys.exit(main())
