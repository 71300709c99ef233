"""Compute where wallets stand among those of their protocol, from the stored history."""

from __future__ import annotations

import argparse
import sys

from scorestream.infra.cli.options import at_least, parse_time
from scorestream.infra.cli.run import run_job
from scorestream.wallets.reference.refresh_thresholds import RefreshOptions, refresh_thresholds


def parse_arguments() -> RefreshOptions:
    parser = argparse.ArgumentParser(prog="spark-submit.sh refresh_thresholds", description=__doc__)
    parser.add_argument(
        "--as-of",
        type=parse_time,
        required=True,
        metavar="TIME",
        help="ISO 8601 or unix seconds: later transactions do not count",
    )
    parser.add_argument(
        "--min-wallets",
        type=at_least(1),
        default=30,
        metavar="N",
        help="a protocol and feature of fewer wallets gets no thresholds (default: 30)",
    )
    parser.add_argument(
        "--export",
        metavar="PATH",
        help="also write them as JSON lines, or with `mongodb` into the collection of MONGODB_URL",
    )
    given = parser.parse_args()
    if given.as_of < 0:
        parser.error("--as-of: must not be before 1970")
    return RefreshOptions(**vars(given))


if __name__ == "__main__":
    options = parse_arguments()
    sys.exit(run_job(lambda settings: refresh_thresholds(options, settings)))
