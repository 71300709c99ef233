"""How deep JSON is nested, seen from its brackets alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

MAX_DEPTH: Final = 512


def count_brackets(values: Sequence[bytes]) -> int:
    """Opening brackets in the bytes of messages, those within strings too."""
    joined = np.frombuffer(b"".join(values), dtype=np.uint8)
    # "[" and "{" differ in this one bit.
    return int(np.count_nonzero((joined & 0xDF) == ord("[")))


def is_deep(value: bytes) -> bool:
    """Whether a JSON value is nested deeper than `MAX_DEPTH`; brackets within strings are text."""
    if b"\\" in value:
        value = value.replace(b"\\\\", b"").replace(b'\\"', b"")
    letters = np.frombuffer(value, dtype=np.uint8)
    # "[" and "{", as "]" and "}", differ in this one bit.
    folded = letters & 0xDF
    brackets = np.flatnonzero((folded == ord("[")) | (folded == ord("]")))
    quotes_before = np.searchsorted(np.flatnonzero(letters == ord('"')), brackets)
    outside = folded[brackets[quotes_before % 2 == 0]]
    depths = np.cumsum(np.where(outside == ord("["), 1, -1))
    return bool(depths.max(initial=0) > MAX_DEPTH)
