"""Values of command-line options: moments and spans of time."""

from __future__ import annotations

import re
from argparse import ArgumentTypeError
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Final

from scorestream.core.messages import MAX_SECONDS, MIN_SECONDS

LONGEST_SECONDS: Final = 1000 * 365 * 86_400
UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def moment(text: str) -> int:
    """Unix seconds of a time in ISO 8601 (UTC if it names no zone), or of unix seconds."""
    if re.fullmatch(r"-?[0-9]+", text):
        if not MIN_SECONDS <= int(text) <= MAX_SECONDS:
            raise ArgumentTypeError(f"{text} is no moment in unix seconds; are these milliseconds?")
        return int(text)
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is no time") from None
    return int((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp())


def span(text: str) -> int:
    """Seconds of a span such as 7d."""
    found = re.fullmatch(r"([1-9][0-9]*)([smhdw])", text)
    if found is None:
        raise ArgumentTypeError(f"{text!r} is no span of time such as 7d or 12h")
    seconds = int(found[1]) * UNITS[found[2]]
    if seconds > LONGEST_SECONDS:
        raise ArgumentTypeError(f"{text} is longer than a thousand years")
    return seconds


def at_least(least: int) -> Callable[[str], int]:
    """What reads a whole number that is not below another."""
    return partial(_integer, least)


def _integer(least: int, text: str) -> int:
    value = int(text)
    if value < least:
        raise ArgumentTypeError(f"must be at least {least}")
    return value
