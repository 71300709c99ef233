"""Make the table that wallet models learn from: wallets at cutoffs, and what became of them."""

from __future__ import annotations

import argparse
import re
import sys

from scorestream.infra.cli.options import parse_duration, parse_time
from scorestream.infra.cli.run import run_job
from scorestream.wallets.datasets.job import ExamplesOptions, make_examples

# Each wallet is scored at each of them: more would be a slip of the pen.
MAX_CUTOFFS = 1_000


def parse_arguments() -> ExamplesOptions:
    parser = argparse.ArgumentParser(prog="spark-submit.sh wallet_examples", description=__doc__)
    parser.add_argument(
        "--as-of-range",
        nargs=2,
        type=parse_time,
        required=True,
        metavar=("START", "END"),
        help="a cutoff at START, and --every so much later until END",
    )
    parser.add_argument(
        "--every",
        type=parse_duration,
        default=parse_duration("30d"),
        metavar="30d",
        help="default: 30d",
    )
    parser.add_argument(
        "--horizon",
        type=parse_duration,
        metavar="30d",
        help="labels look so far ahead, and no further than the next cutoff (default: no labels)",
    )
    parser.add_argument(
        "--output",
        type=_table,
        default=ExamplesOptions.output,
        metavar="TABLE",
        help="Delta table in the warehouse, replaced if it is there (default: training/wallets)",
    )
    parser.add_argument(
        "--truth", metavar="PATH", help="CSV of wallet_address and behaviour, where it is known"
    )
    parser.add_argument(
        "--scoring",
        default=ExamplesOptions.scoring,
        metavar="NAME",
        help=f"default: {ExamplesOptions.scoring}",
    )
    given = parser.parse_args()
    start, end = given.as_of_range
    moments = range(start, end + 1, given.every)
    if not 0 < len(moments) <= MAX_CUTOFFS:
        parser.error(f"{len(moments):,} cutoffs: expected 1 to {MAX_CUTOFFS:,}")
    return ExamplesOptions(tuple(moments), given.horizon, given.output, given.truth, given.scoring)


def _table(text: str) -> str:
    if not re.fullmatch(r"training/[a-z0-9][a-z0-9_-]{0,79}", text):
        raise argparse.ArgumentTypeError("training/NAME, of lower case, digits, - and _")
    return text


if __name__ == "__main__":
    options = parse_arguments()
    sys.exit(run_job(lambda settings: make_examples(options, settings)))
