"""Forget a wallet wherever it is, or rows older than an age; says what was found and what stays."""

from __future__ import annotations

import argparse
import sys
import time

from scorestream.infra.cli.options import at_least, parse_duration, parse_time
from scorestream.infra.cli.run import run_job
from scorestream.wallets.maintenance.erasure_filters import AgeFilter, WalletFilter
from scorestream.wallets.maintenance.forget import FORGETTABLE, ForgetOptions, forget


def parse_arguments() -> ForgetOptions:
    parser = argparse.ArgumentParser(prog="spark-submit.sh forget", description=__doc__)
    row_filter = parser.add_mutually_exclusive_group(required=True)
    row_filter.add_argument(
        "--wallet",
        type=_address,
        metavar="ADDRESS",
        help="a wallet, 0x... in any spelling: its rows in all tables, files and samples of models",
    )
    row_filter.add_argument(
        "--older-than",
        type=parse_duration,
        metavar="365d",
        help="scores by as_of, transactions by timestamp, rejects by rejected_at; s, m, h, d or w",
    )
    parser.add_argument(
        "--as-of",
        type=parse_time,
        metavar="TIME",
        help="ISO 8601 or unix seconds: the moment at which rows are so old (default: now)",
    )
    parser.add_argument(
        "--tables",
        type=_tables,
        metavar="NAMES",
        help=f"only some of {','.join(FORGETTABLE)} (default: all; of a wallet, whatever holds it)",
    )
    parser.add_argument("--dry-run", action="store_true", help="only say what would go")
    parser.add_argument(
        "--purge",
        action="store_true",
        help="end the versions of before now, and delete their files that hold such rows; else "
        "both go when they are old enough (compact_tables --vacuum-hours)",
    )
    parser.add_argument(
        "--wait",
        type=at_least(0),
        default=60,
        metavar="SECONDS",
        help="readers and writers that began before have so long before a purge (default: 60)",
    )
    given = parser.parse_args()
    if given.as_of is not None and given.older_than is None:
        parser.error("--as-of goes with --older-than")
    return _options(given)


def _options(given: argparse.Namespace) -> ForgetOptions:
    now = int(time.time()) if given.as_of is None else given.as_of
    return ForgetOptions(
        AgeFilter(now - given.older_than) if given.older_than else WalletFilter.of(given.wallet),
        given.tables,
        given.dry_run,
        given.purge,
        given.wait,
    )


def _address(text: str) -> str:
    if not text:
        raise argparse.ArgumentTypeError("is empty")
    return text


def _tables(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    unknown = [name for name in names if name not in FORGETTABLE]
    if unknown:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(FORGETTABLE)}")
    return names


if __name__ == "__main__":
    options = parse_arguments()
    sys.exit(run_job(lambda settings: forget(options, settings)))
