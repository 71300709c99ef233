"""`make bench`: measures everything in one go, and writes docs/benchmarks.md and its plot."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from scorestream.infra.config.settings import PROJECT_ROOT
from tools.benchmarks.machine import Site
from tools.benchmarks.measure import FULL, QUICK, measure_all
from tools.benchmarks.report import write_report
from tools.local.broker import LocalBroker
from tools.local.ports import free_port


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="all parts, each small; minutes")
    parser.add_argument(
        "--output", type=Path, default=PROJECT_ROOT / "docs", metavar="DIR", help="default: docs"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="scorestream-bench-") as folder:
        broker = LocalBroker(free_port(), Path(folder) / "kafka")
        broker.start()
        try:
            site = Site(Path(folder), broker.bootstrap_servers)
            results = measure_all(site, QUICK if arguments.quick else FULL)
        finally:
            broker.stop()
    write_report(results, arguments.output)
    print(f"wrote {arguments.output / 'benchmarks.md'}")


if __name__ == "__main__":
    main()
