"""Score historical wallets: from files of messages, or from histories of transactions."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from scorestream.infra.cli.options import parse_duration, parse_time
from scorestream.infra.cli.run import run_job
from scorestream.wallets.backfill.job import run_backfill
from scorestream.wallets.backfill.planning import BackfillOptions
from scorestream.wallets.execution.configured_scoring import add_scoring_option

# Each wallet is scored at each of them: more would be a slip of the pen.
MAX_MOMENTS = 10_000


def parse_arguments() -> BackfillOptions:
    parser = argparse.ArgumentParser(prog="spark-submit.sh backfill_scores", description=__doc__)
    _add_input(parser)
    _add_moments(parser)
    _add_run(parser)
    given = parser.parse_args()
    if (given.as_of_range is None) != (given.every is None):
        parser.error("--as-of-range and --every go together")
    return BackfillOptions(
        given.input,
        given.as_of if given.as_of_range is None else _range(parser, given),
        given.format,
        given.columns,
        given.scorings,
        given.run_id,
        given.publish_rate if given.publish else None,
    )


def _add_input(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--input",
        required=True,
        metavar="PATH",
        help="messages as JSON lines, plain or .gz .zst .bz2 .lz4; or a table with one row a "
        "transaction: Parquet, Delta or CSV. A file, a folder, a pattern with * in its last part, "
        "or a URI. `transactions`: what the warehouse holds",
    )
    parser.add_argument(
        "--format",
        choices=["jsonl", "parquet", "delta", "csv"],
        help="what the files are; default: by their names",
    )
    parser.add_argument(
        "--columns",
        type=Path,
        metavar="FILE",
        help="what the columns of a table are called, as in conf/inputs/example.yaml",
    )


def _add_moments(parser: argparse.ArgumentParser) -> None:
    moments = parser.add_mutually_exclusive_group(required=True)
    moments.add_argument(
        "--as-of",
        type=_moments,
        metavar="TIME",
        help="ISO 8601 or unix seconds: the moment every wallet is judged at; `record`: each "
        "message's own, from lines {as_of, message} or from `transactions`",
    )
    moments.add_argument(
        "--as-of-range",
        nargs=2,
        type=parse_time,
        metavar=("START", "END"),
        help="a score of every wallet at START, and --every so much later until END",
    )
    parser.add_argument("--every", type=parse_duration, metavar="7d", help="s, m, h, d or w")


def _add_run(parser: argparse.ArgumentParser) -> None:
    add_scoring_option(parser)
    parser.add_argument(
        "--run-id",
        type=_name,
        metavar="ID",
        help="a name for the run; given again, the run goes on where it was cut off",
    )
    parser.add_argument("--publish", action="store_true", help="results go to Kafka, too")
    parser.add_argument(
        "--publish-rate",
        type=_rate,
        default=5000.0,
        metavar="N",
        help="at most so many records a second; default: 5000",
    )


def _range(parser: argparse.ArgumentParser, given: argparse.Namespace) -> tuple[int, ...]:
    start, end = given.as_of_range
    moments = range(start, end + 1, given.every)
    if not 0 < len(moments) <= MAX_MOMENTS:
        parser.error(f"{len(moments):,} moments: expected 1 to {MAX_MOMENTS:,}")
    return tuple(moments)


def _moments(text: str) -> tuple[int, ...]:
    return () if text == "record" else (parse_time(text),)


def _name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,100}", text):
        raise argparse.ArgumentTypeError("letters, digits and . _ - only, at most 100")
    return text


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0 < rate < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")
    return rate


if __name__ == "__main__":
    options = parse_arguments()
    sys.exit(run_job(lambda settings: run_backfill(options, settings)))
