"""Make up histories of wallets whose behaviour is known, as messages."""

from __future__ import annotations

import argparse
from typing import Final

from scorestream.infra.cli.options import at_least, between, parse_time
from scorestream.infra.config.settings import Settings
from scorestream.wallets.datasets.generated.messages import GenerateOptions, generate_wallets

HELP: Final = "made-up histories of wallets, as messages to score"
# All of them are held in memory at once.
MAX_WALLETS: Final = 100_000
MAX_DAYS: Final = 3_650
NEW_YEAR_2026: Final = 1_767_225_600


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    for name, most, default, text in (
        ("--wallets", MAX_WALLETS, 5000, "default: 5000"),
        ("--days", MAX_DAYS, 180, "of history (default: 180)"),
    ):
        parser.add_argument(name, type=between(1, most), default=default, metavar="N", help=text)
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


def run(given: argparse.Namespace, _settings: Settings) -> None:
    """Write the messages, and what the wallets are.

    Raises:
        InputError: a file cannot be written.
    """
    generate_wallets(
        GenerateOptions(given.wallets, given.days, given.seed, given.until, given.output)
    )
