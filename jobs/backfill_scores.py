"""Score historical wallets: from files of messages, or from the stored history."""

from __future__ import annotations

import argparse
import re
import sys
from datetime import UTC, datetime

from scorestream.backfill.job import BackfillOptions, run_backfill
from scorestream.cli import run_job


def parse_arguments() -> BackfillOptions:
    parser = argparse.ArgumentParser(prog="spark-submit.sh backfill_scores", description=__doc__)
    parser.add_argument(
        "--input",
        required=True,
        metavar="PATH",
        help="JSON lines, plain or .gz .zst .bz2 .lz4: a file, a folder, a pattern with * in its "
        "last part, or a URI; or `transactions`: the table",
    )
    parser.add_argument(
        "--as-of",
        required=True,
        type=_moment,
        metavar="TIME",
        help="ISO 8601 or unix seconds: the moment every wallet is judged at; `record`: each "
        "message's own, from lines {as_of, message} or from the table",
    )
    parser.add_argument("--scoring", default="dex-v1", metavar="NAME", help="default: dex-v1")
    parser.add_argument(
        "--run-id",
        type=_name,
        metavar="ID",
        help="a name for the run; given again, the run goes on where it was cut off",
    )
    return BackfillOptions(**vars(parser.parse_args()))


def _moment(text: str) -> int | None:
    if text == "record":
        return None
    if re.fullmatch(r"-?[0-9]+", text):
        return int(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no time") from None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


def _name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,100}", text):
        raise argparse.ArgumentTypeError("letters, digits and . _ - only, at most 100")
    return text


if __name__ == "__main__":
    options = parse_arguments()
    sys.exit(run_job(lambda settings: run_backfill(options, settings)))
