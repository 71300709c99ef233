"""Keep the tables healthy: join small files, cluster rows by wallet, shorten logs."""

from __future__ import annotations

import argparse
import sys

from scorestream.infra.cli.options import at_least
from scorestream.infra.cli.run import run_job
from scorestream.infra.delta.optimize import OptimizeOptions
from scorestream.wallets.maintenance.compact_tables import MIN_HOURS_KEPT, compact_tables


def parse_arguments() -> OptimizeOptions:
    parser = argparse.ArgumentParser(prog="spark-submit.sh compact_tables", description=__doc__)
    parser.add_argument(
        "--target-mb", type=at_least(1), default=128, metavar="N", help="file size (default: 128)"
    )
    clustering = parser.add_mutually_exclusive_group()
    clustering.add_argument(
        "--cluster-percent",
        type=at_least(0),
        default=20,
        metavar="N",
        help="rewrite `scores` or `transactions` in the order of the wallets when N percent of its "
        "rows came since the last time; 0: always (default: 20)",
    )
    clustering.add_argument("--no-cluster", action="store_true", help="only join small files")
    parser.add_argument(
        "--memory-mb",
        type=at_least(64),
        default=1024,
        metavar="N",
        help="memory for sorting, before it goes on in the temporary folder (default: 1024)",
    )
    parser.add_argument(
        "--vacuum-hours",
        type=at_least(MIN_HOURS_KEPT),
        metavar="N",
        help="also delete the files that no version of the last N hours needs; at least "
        f"{MIN_HOURS_KEPT} (default: keep all, and the time travel with them)",
    )
    given = parser.parse_args()
    return OptimizeOptions(
        given.target_mb,
        given.memory_mb,
        given.vacuum_hours,
        None if given.no_cluster else given.cluster_percent,
    )


if __name__ == "__main__":
    effort = parse_arguments()
    sys.exit(run_job(lambda settings: compact_tables(effort, settings)))
