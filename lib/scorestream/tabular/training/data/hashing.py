"""Hashes of rows by content, independent of file and order."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

Hashes = npt.NDArray[np.uint64]
# Up to it doubles tell whole numbers apart.
_EXACT: Final = 1 << 53
_NO_TEXT: Final = "\\N"
# Odd numbers spread over 64 bits (Knuth, Steele): one column's bits reach all of the next sum.
_FACTOR: Final = np.uint64(0x9E3779B97F4A7C15)
_MIXER: Final = np.uint64(0xBF58476D1CE4E5B9)


def row_hashes(rows: pa.Table) -> Hashes:
    """64 bits a row that depend on the value of each column, and on which column has it.

    Numbers of the same value have the same hash whatever their type, but whole ones beyond 2^53;
    null differs from any value.
    """
    hashes = np.zeros(rows.num_rows, dtype=np.uint64)
    for name in sorted(rows.column_names):
        salt = np.uint64(int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big"))
        hashes = _mix(hashes * _FACTOR + (_column_hashes(rows[name]) ^ salt))
    return hashes


def content_hash(rows: pa.Table) -> str:
    """16 hex digits that depend on every value, and not on the order of rows and columns."""
    digest = hashlib.sha256(",".join(sorted(rows.column_names)).encode())
    digest.update(np.sort(row_hashes(rows)).tobytes())
    return digest.hexdigest()[:16]


def shares(hashes: Hashes, seed: int) -> npt.NDArray[np.float64]:
    """A number in [0, 1) for each hash, another one for each seed."""
    salt = np.uint64(int.from_bytes(hashlib.sha256(str(seed).encode()).digest()[:8], "big"))
    return np.asarray(_mix(hashes ^ salt) >> np.uint64(11), np.float64) / float(1 << 53)


def _column_hashes(values: pa.ChunkedArray) -> Hashes:
    kind = values.type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind):
        hashes = _mix(_double_bits(values))
        return _hash_large_integers(hashes, values) if pa.types.is_integer(kind) else hashes
    # To pandas a text ends at its first 0; after this it has none, and no text is that of a null.
    texts = pc.replace_substring(values.cast(pa.string()), "\\", "\\\\")
    texts = pc.fill_null(pc.replace_substring(texts, "\0", "\\0"), _NO_TEXT)
    return np.asarray(pd.util.hash_array(texts.to_numpy(zero_copy_only=False)), np.uint64)


def _double_bits(values: pa.ChunkedArray) -> Hashes:
    numbers = np.asarray(pc.fill_null(values.cast(pa.float64(), safe=False), np.nan))
    # One zero, one NaN: both have several bit patterns.
    return np.where(np.isnan(numbers), np.nan, numbers + 0.0).view(np.uint64)


def _hash_large_integers(hashes: Hashes, values: pa.ChunkedArray) -> Hashes:
    """Hashes in which whole numbers that doubles do not tell apart have their own."""
    kind = pa.uint64() if pa.types.is_unsigned_integer(values.type) else pa.int64()
    numbers = np.asarray(pc.fill_null(values, 0).cast(kind))
    large = numbers > _EXACT
    if kind == pa.int64():
        large |= numbers < -_EXACT
    return np.where(large, _mix(numbers.view(np.uint64)), hashes)


def _mix(bits: Hashes) -> Hashes:
    bits = (bits ^ (bits >> np.uint64(30))) * _MIXER
    return np.asarray(bits ^ (bits >> np.uint64(31)), np.uint64)


def pack_hashes(hashes: Sequence[int] | np.ndarray[Any, np.dtype[np.uint64]]) -> bytes:
    """Sorted 64-bit numbers as bytes."""
    return np.sort(np.asarray(hashes, "<u8")).tobytes()


def unpack_hashes(content: bytes) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """The numbers that `pack_hashes` has packed."""
    return np.frombuffer(content, "<u8").astype(np.uint64)
