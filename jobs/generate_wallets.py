"""Make up histories of wallets whose behaviour is known, as messages."""

from __future__ import annotations

import argparse
import sys

from scorestream.infra.cli.options import at_least, parse_time
from scorestream.infra.cli.run import run_job
from scorestream.wallets.datasets.generated.messages import GenerateOptions, generate_wallets

# All of them are held in memory at once.
MAX_WALLETS = 100_000
MAX_DAYS = 3_650
NEW_YEAR_2026 = 1_767_225_600


def parse_arguments() -> GenerateOptions:
    parser = argparse.ArgumentParser(prog="spark-submit.sh generate_wallets", description=__doc__)
    parser.add_argument(
        "--wallets", type=at_least(1), default=5000, metavar="N", help="default: 5000"
    )
    parser.add_argument(
        "--days", type=at_least(1), default=180, metavar="N", help="of history (default: 180)"
    )
    parser.add_argument("--seed", type=at_least(0), default=1, metavar="N", help="default: 1")
    parser.add_argument(
        "--until",
        type=parse_time,
        default=NEW_YEAR_2026,
        metavar="TIME",
        help="end of the history, ISO 8601 or unix seconds (default: 2026-01-01)",
    )
    parser.add_argument(
        "--output",
        required=True,
        metavar="PATH",
        help="messages as JSON lines, .jsonl or .jsonl.gz; the truth is written beside, .truth.csv",
    )
    given = parser.parse_args()
    if given.wallets > MAX_WALLETS or given.days > MAX_DAYS:
        parser.error(f"at most {MAX_WALLETS:,} wallets and {MAX_DAYS:,} days")
    return GenerateOptions(given.wallets, given.days, given.seed, given.until, given.output)


if __name__ == "__main__":
    options = parse_arguments()
    sys.exit(run_job(lambda _: generate_wallets(options)))
