"""What a record has beside its value, as hostile as the protocol allows."""

from __future__ import annotations

from random import Random
from typing import Final, NamedTuple

from scorestream.infra.kafka.headers import ORIGIN_HEADER
from scorestream.infra.kafka.records import ATTEMPT_HEADER

# Names are bytes: nothing makes a producer send UTF-8.
Headers = tuple[tuple[bytes, bytes | None], ...]

GOOD_TIMESTAMPS: Final = (1_623_715_200_000, 1_623_715_200_999, 1000, 10**14)
BAD_TIMESTAMPS: Final = (0, -1, 1, 999, -1000, 10**14 + 1, 2**63 - 1, -(2**63), -62_135_596_800_001)
# The share of records whose timestamp is a moment; the others are rejected unread.
GOOD_SHARE: Final = 0.8
KEYS: Final = (None, b"", b"key", b"\xff\xfe", b"\x00", b"k" * 10_000)
NAMES: Final = (
    ATTEMPT_HEADER.encode(),
    ORIGIN_HEADER.encode(),
    *(b"", b"traceparent", b"\xff\xfe", b"\xed\xa0\x80", "h\u00e9ader".encode("latin-1")),
    b"n" * 5_000,
)
VALUES: Final = (
    *(None, b"", b"1", b"3", b"-1", b"9" * 1000, b"1e3", b" 1", b"\xff", b"\x00"),
    *("\u0663".encode(), b"in/0/1", b"in/0/" + b"9" * 30, b"/", b"in/-1/-1"),
)
COUNTS: Final = (0, 0, 0, 1, 2, 3, 10)


class Metadata(NamedTuple):
    """Timestamp in unix milliseconds, key, headers with their names as bytes."""

    timestamp: int
    key: bytes | None
    headers: Headers


def hostile_metadata(random: Random) -> Metadata:
    """What may come with a value; the same name may come twice."""
    good = random.random() < GOOD_SHARE
    return Metadata(
        random.choice(GOOD_TIMESTAMPS if good else BAD_TIMESTAMPS),
        random.choice(KEYS),
        tuple(_header(random) for _ in range(random.choice(COUNTS))),
    )


def _header(random: Random) -> tuple[bytes, bytes | None]:
    return random.choice(NAMES), random.choice(VALUES)
