"""Forget a wallet, or rows older than an age: out of the tables, and out of their files."""

from __future__ import annotations

import argparse
import sys
import time

from scorestream.cli.options import at_least, moment, span
from scorestream.cli.run import run_job
from scorestream.upkeep.forget import FORGETTABLE, ForgetOptions, OlderThan, OneWallet, forget


def parse_arguments() -> ForgetOptions:
    parser = argparse.ArgumentParser(prog="spark-submit.sh forget", description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--wallet",
        type=_address,
        metavar="ADDRESS",
        help="all rows of a wallet, 0x... in any spelling; their files go as well",
    )
    what.add_argument(
        "--older-than",
        type=span,
        metavar="365d",
        help="scores by as_of, transactions by timestamp, rejects by rejected_at; s, m, h, d or w",
    )
    parser.add_argument(
        "--as-of",
        type=moment,
        metavar="TIME",
        help="ISO 8601 or unix seconds: the moment at which rows are so old (default: now)",
    )
    parser.add_argument(
        "--tables",
        type=_tables,
        default=tuple(FORGETTABLE),
        metavar="NAMES",
        help=f"some of {','.join(FORGETTABLE)} (default: all)",
    )
    parser.add_argument("--dry-run", action="store_true", help="only count the rows")
    parser.add_argument(
        "--purge",
        action="store_true",
        help="with --older-than: delete the files, too; else compact_tables --vacuum-hours does",
    )
    parser.add_argument(
        "--wait",
        type=at_least(0),
        default=60,
        metavar="SECONDS",
        help="readers that began before have so long before files are deleted (default: 60)",
    )
    given = parser.parse_args()
    if given.as_of is not None and given.older_than is None:
        parser.error("--as-of goes with --older-than")
    return _options(given)


def _options(given: argparse.Namespace) -> ForgetOptions:
    now = int(time.time()) if given.as_of is None else given.as_of
    return ForgetOptions(
        OlderThan(now - given.older_than) if given.older_than else OneWallet.of(given.wallet),
        given.tables,
        given.dry_run,
        given.purge or given.wallet is not None,
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
