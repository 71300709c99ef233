"""Command-line options that several commands have: times, durations, whole numbers, models."""

from __future__ import annotations

import re
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Final

from scorestream.infra.times import MAX_SECONDS, MIN_SECONDS

MAX_SPAN_SECONDS: Final = 1000 * 365 * 86_400
UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def parse_time(text: str) -> int:
    """Parse a time in ISO 8601 (UTC if it names no zone) or in unix seconds, to unix seconds."""
    if re.fullmatch(r"-?[0-9]+", text):
        if not MIN_SECONDS <= int(text) <= MAX_SECONDS:
            raise ArgumentTypeError(f"{text} is no moment in unix seconds; are these milliseconds?")
        return int(text)
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is no time") from None
    seconds = int((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp())
    if not MIN_SECONDS <= seconds <= MAX_SECONDS:
        raise ArgumentTypeError(f"{text} is before the year 1, or after 5138")
    return seconds


def parse_duration(text: str) -> int:
    """Parse a duration such as 7d, to seconds."""
    match = re.fullmatch(r"([1-9][0-9]*)([smhdw])", text)
    if match is None:
        raise ArgumentTypeError(f"{text!r} is no span of time such as 7d or 12h")
    seconds = int(match[1]) * UNITS[match[2]]
    if seconds > MAX_SPAN_SECONDS:
        raise ArgumentTypeError(f"{text} is longer than a thousand years")
    return seconds


def at_least(least: int) -> Callable[[str], int]:
    """Make a parser of whole numbers with a minimum."""
    return partial(_integer, least, None)


def between(least: int, most: int) -> Callable[[str], int]:
    """Make a parser of whole numbers with a minimum and a maximum."""
    return partial(_integer, least, most)


def add_model_and_tables(parser: ArgumentParser, gives: str) -> None:
    """Add --model, --input and --output, of commands that apply a model to a table.

    Args:
        parser: of the command.
        gives: what the output holds.
    """
    files = ".csv, .csv.gz, .parquet"
    for name, metavar, text in (
        ("--model", "NAME@ALIAS", "NAME@champion, NAME/3, or NAME"),
        ("--input", "PATH", f"{files}, or a Delta table"),
        ("--output", "PATH", f"{files}, or else a Delta table: {gives}; what is there is replaced"),
    ):
        parser.add_argument(name, required=True, metavar=metavar, help=text)


def _integer(least: int, most: int | None, text: str) -> int:
    value = int(text)
    if value < least:
        raise ArgumentTypeError(f"must be at least {least}")
    if most is not None and value > most:
        raise ArgumentTypeError(f"must be at most {most}")
    return value
