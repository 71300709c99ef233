"""Reads headers of records; these are untrusted: any names, any values, any number."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import methodcaller
from typing import Final

from confluent_kafka import Message

from scorestream.infra.kafka.records import ATTEMPT_HEADER

ORIGIN_HEADER: Final = "scorestream-replay-of"
# Beyond nine digits a number is none of ours, and would fit no column.
_MAX_DIGITS: Final = 9
_MAX_OFFSET_DIGITS: Final = 18

Header = tuple[str, bytes | None]


# The client leaves an error behind and gives headers all the same. Called from C, as here, Python
# raises that error; called from Python it may not, and the process ends at the name that lacks.
_headers = methodcaller("headers")


def read_headers(message: Message) -> Sequence[Header]:
    """Read a record's headers, in order; none if a name is not UTF-8.

    The client cannot hand out such a name, nor those beside it. Ours are never among them: a record
    that we send has no other headers. To be called once a message: what the client keeps of one
    that failed must not be looked at.
    """
    try:
        return _headers(message) or ()
    except (SystemError, UnicodeDecodeError):
        return ()


def read_attempt(headers: Iterable[Header]) -> int:
    """Read how often a record was replayed; 0 without a header of ours."""
    for name, value in headers:
        if name == ATTEMPT_HEADER and _is_number(value, _MAX_DIGITS):
            return int(value or 0)
    return 0


def read_origin(headers: Iterable[Header]) -> tuple[str, int, int] | None:
    """Read topic, partition and offset of the reject that a record replays; else None."""
    for name, value in headers:
        topic, *numbers = (value or b"").rsplit(b"/", 2) if name == ORIGIN_HEADER else [b""]
        if len(numbers) == 2 and topic.isascii():
            partition, offset = numbers
            if _is_number(partition, _MAX_DIGITS) and _is_number(offset, _MAX_OFFSET_DIGITS):
                return topic.decode(), int(partition), int(offset)
    return None


def _is_number(value: bytes | None, most: int) -> bool:
    return value is not None and value.isdigit() and len(value) <= most
