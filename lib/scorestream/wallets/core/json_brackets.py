"""What brackets, commas and quotes alone tell of JSON: how deep it is, where elements begin."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

MAX_DEPTH: Final = 512
# So many bytes are looked at together, so that large values need little more memory.
WINDOW_BYTES: Final = 1024 * 1024
_QUOTE, _COMMA = 2, 3
# What a byte is: how it changes the depth, or one of the two above.
_KINDS: Final = np.zeros(256, dtype=np.int8)
_KINDS[[ord("["), ord("{")]] = 1
_KINDS[[ord("]"), ord("}")]] = -1
_KINDS[[ord('"'), ord(",")]] = _QUOTE, _COMMA

Ints = npt.NDArray[np.int64]


def count_brackets(values: Sequence[bytes]) -> int:
    """Opening brackets in the bytes of messages, those within strings too."""
    joined = np.frombuffer(b"".join(values), dtype=np.uint8)
    # "[" and "{" differ in this one bit.
    return int(np.count_nonzero((joined & 0xDF) == ord("[")))


def is_deep(value: bytes) -> bool:
    """Whether a JSON value is nested deeper than `MAX_DEPTH`; brackets within strings are text."""
    return any(depths.max(initial=0) > MAX_DEPTH for _, _, depths in _marks(value))


def element_bounds(array: bytes) -> Iterator[tuple[int, int]]:
    """First byte of each element of a JSON array, with white space, and the one behind its last."""
    start, end = array.index(b"[") + 1, array.rindex(b"]")
    for commas in _commas(array):
        for comma in commas.tolist():
            yield start, comma
            start = comma + 1
    if array[start:end].strip():
        yield start, end


def nested_bounds(array: bytes) -> Iterator[tuple[int, int]]:
    """First and last byte, plus one, of the elements of a JSON array that are objects or arrays."""
    opened = None
    for places, kinds, depths in _marks(array):
        edges = places[((kinds == 1) & (depths == 2)) | ((kinds == -1) & (depths == 1))]
        for edge in edges.tolist():
            if opened is None:
                opened = edge
            else:
                yield opened, edge + 1
                opened = None


def count_elements(array: bytes) -> int:
    """How many elements a JSON array has."""
    commas = sum(map(len, _commas(array)))
    return commas + 1 if commas or array.strip()[1:-1].strip() else 0


def _commas(array: bytes) -> Iterator[Ints]:
    """Places of the commas between the elements of a JSON array."""
    for places, kinds, depths in _marks(array):
        yield places[(kinds == _COMMA) & (depths == 1)]


def _marks(value: bytes) -> Iterator[tuple[Ints, npt.NDArray[np.int8], Ints]]:
    """Brackets and commas outside of strings: places, kinds, and depths behind them."""
    if b"\\" in value:
        value = value.replace(rb"\\", b"  ").replace(rb"\"", b"  ")
    letters = np.frombuffer(value, dtype=np.uint8)
    quotes = depth = 0
    for start in range(0, len(letters), WINDOW_BYTES):
        kinds = _KINDS[letters[start : start + WINDOW_BYTES]]
        places = np.flatnonzero(kinds)
        kinds = kinds[places]
        quotes_before = quotes + np.cumsum(kinds == _QUOTE)
        outside = (quotes_before % 2 == 0) & (kinds != _QUOTE)
        quotes = int(quotes_before[-1]) if len(places) else quotes
        places, kinds = places[outside] + start, kinds[outside]
        depths = depth + np.cumsum(np.where(kinds == _COMMA, 0, kinds), dtype=np.int64)
        depth = int(depths[-1]) if len(places) else depth
        yield places, kinds, depths
