"""Join the many small files that a stream writes into few large ones."""

from __future__ import annotations

import argparse
import sys
from functools import partial

from scorestream.cli import at_least, run_job
from scorestream.compaction import LEAST_HOURS_KEPT, compact_tables


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="spark-submit.sh compact_tables", description=__doc__)
    parser.add_argument(
        "--target-mb", type=at_least(1), default=128, metavar="N", help="file size (default: 128)"
    )
    parser.add_argument(
        "--vacuum-hours",
        type=at_least(LEAST_HOURS_KEPT),
        metavar="N",
        help="also delete the files that no version of the last N hours needs; at least "
        f"{LEAST_HOURS_KEPT} (default: keep all, and the time travel with them)",
    )
    return parser.parse_args()


if __name__ == "__main__":
    arguments = parse_arguments()
    sys.exit(run_job(partial(compact_tables, arguments.target_mb, arguments.vacuum_hours)))
