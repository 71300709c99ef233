"""Compare two scoring models, or two runs, wallet by wallet."""

from __future__ import annotations

import argparse
import sys

from scorestream.infra.cli.options import at_least
from scorestream.infra.cli.run import run_job
from scorestream.wallets.comparison.figures import Side
from scorestream.wallets.comparison.job import CompareOptions, compare_scores


def parse_arguments() -> CompareOptions:
    parser = argparse.ArgumentParser(prog="spark-submit.sh compare_scores", description=__doc__)
    for side in ("left", "right"):
        parser.add_argument(
            f"--{side}", required=True, metavar="NAME", help="scoring model, for instance dex-v1"
        )
        parser.add_argument(
            f"--{side}-run",
            metavar="ID",
            help="only scores of this run (default: the latest of each wallet)",
        )
    parser.add_argument(
        "--top",
        type=at_least(1),
        default=10,
        metavar="N",
        help="how many of the largest moves are explained (default: 10)",
    )
    parser.add_argument(
        "--out",
        metavar="DIR",
        help="write comparison.md and comparison.svg there (default: print the report)",
    )
    given = parser.parse_args()
    left, right = Side(given.left, given.left_run), Side(given.right, given.right_run)
    return CompareOptions(left, right, given.top, given.out)


if __name__ == "__main__":
    options = parse_arguments()
    sys.exit(run_job(lambda settings: compare_scores(options, settings)))
