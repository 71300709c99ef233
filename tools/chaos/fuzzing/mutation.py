"""Mutations of wallet messages that know JSON: what comes out is near to a message, and hostile."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from random import Random
from typing import Final

MAX_BYTES: Final = 64 * 1024
KEYS: Final = (
    b"wallet_address data chainId protocolType transactions document_id action timestamp protocol "
    b"poolId poolName caller tokenIn tokenOut token0 token1 amount amountUSD address symbol extra"
).split()
NUMBERS: Final = [
    *b"0 -0 -0.0 -1 5 0.1 1.5 1e400 -1e400 1e-400 0e99999 1e22 1E+2 5e-324 1.7976931348623157e308 "
    b"1e308 100000000000 100000000001 100000000000000 100000000000001 -62135596800 -62135596801 "
    b"1623703638 1623703638.0 1623703638.5 1.623703638e9 1623703638999 9223372036854775807 "
    b"9223372036854775808 18446744073709551616 1e18".split(),
    str(2**256 - 1).encode(),
    str(2**256).encode(),
    b"1" + b"0" * 400,
    b"9" * 5000,
    b"0." + b"3" * 2000,
]
TEXTS: Final = [
    *b'"" " " "5" "-0" "05" "1e18" " 5" "5.5" "1623703638" "1623703638999" "NaN" "swap" "deposit" '
    b'"withdraw" "dexes" "USDC" "0xAB" "\\ud800" "\\udc00\\ud800" "\\ud83d\\ude00" "\\u0000" "\\n" '
    b'"\\u005b\\u007b" "[[[[" "}}]]" "\xc3\xa9" "\xef\xbb\xbf"'.split(b" "),
    b'"' + b"x" * 257 + b'"',
    b'"' + b"\\u005b" * 600 + b'"',
    b'"' + b"[" * 600 + b'"',
]
OTHERS: Final = b'null true false [] {} [[]] [null] [5] {"":0} {"amountUSD":1}'.split()
NO_JSON: Final = [
    *b'1e 01 .5 1. +1 NaN Infinity -Infinity nul [,] {,} "\\q" "\\u12" "unended "\x01" '.split(
        b" "
    ),
    *b'"\n" "\xff" "\xed\xa0\x80" "\xf4\x90\x80\x80"'.split(b" "),
]
_SCALAR = re.compile(
    rb'(?<=[:,\[])\s*(?:"(?:[^"\\]++|\\.)*+"|-?[0-9][-+.0-9eE]*+|true|false|null)', re.DOTALL
)
_ELEMENT = re.compile(rb"(?<=[\[,])\{[^{}]*+(?:\{[^{}]*+\}[^{}]*+)*+\}")
_STRUCTURE = re.compile(rb"[\[\]{}:,]")

Mutation = Callable[[bytes, Random, Sequence[bytes]], bytes]


def mutate(value: bytes, random: Random, corpus: Sequence[bytes]) -> bytes:
    """One to four mutations of a message; bounded by `MAX_BYTES`."""
    for _ in range(1 + min(int(random.expovariate(1)), 3)):
        value = random.choice(MUTATIONS)(value, random, corpus)[:MAX_BYTES]
    return value


def _at(value: bytes, random: Random) -> int:
    return random.randrange(len(value) + 1)


def _insert(value: bytes, at: int, piece: bytes) -> bytes:
    return value[:at] + piece + value[at:]


def _span(pattern: re.Pattern[bytes], value: bytes, random: Random) -> tuple[int, int]:
    """Where the pattern is found next behind a place of chance, else that place."""
    at = _at(value, random)
    match = pattern.search(value, at) or pattern.search(value)
    return match.span() if match else (at, at)


def _hostile(random: Random) -> bytes:
    return random.choice(random.choice((*(NUMBERS, TEXTS, OTHERS) * 5, NO_JSON)))


def _exchange(value: bytes, random: Random, _: Sequence[bytes]) -> bytes:
    """Another value in the place of a string, number, or literal."""
    start, end = _span(_SCALAR, value, random)
    return value[:start] + _hostile(random) + value[end:]


def _exchange_field(value: bytes, random: Random, _: Sequence[bytes]) -> bytes:
    """Another value for a field of a known name."""
    name = re.escape(random.choice(KEYS))
    start, end = _span(re.compile(rb'(?<="' + name + rb'":)\s?[^,{}\[\]]+'), value, random)
    return value[:start] + _hostile(random) + value[end:]


def _rename(value: bytes, random: Random, _: Sequence[bytes]) -> bytes:
    """Another name for a field, so that it is missing, or there twice."""
    old, new = (b'"' + random.choice(KEYS) + b'"' for _ in range(2))
    return value.replace(old, new, random.choice((1, 1, -1)))


def _add_field(value: bytes, random: Random, _: Sequence[bytes]) -> bytes:
    """One more field at the head of an object; often one that it has."""
    end = _span(re.compile(rb"{"), value, random)[1]
    field = b'"' + random.choice(KEYS) + b'":' + _hostile(random) + b","
    return _insert(value, end, field)


def _nest(value: bytes, random: Random, _: Sequence[bytes]) -> bytes:
    """A value within many arrays or objects."""
    start, end = _span(_SCALAR, value, random)
    depth = random.choice((1, 3, 100, 505, 512, 520, 1100, 5000))
    opening, closing = random.choice(((b"[", b"]"), (b'{"x":', b"}")))
    ended = depth if random.random() < 0.9 else 0
    return value[:start] + opening * depth + value[start:end] + closing * ended + value[end:]


def _repeat(value: bytes, random: Random, _: Sequence[bytes]) -> bytes:
    """An object of an array, a transaction for instance, again and again."""
    start, end = _span(_ELEMENT, value, random)
    times = min(random.choice((1, 2, 50, 2000)), MAX_BYTES // 4 // (end - start + 1))
    return _insert(value, start, (value[start:end] + b",") * times)


def _swap_values(value: bytes, random: Random, _: Sequence[bytes]) -> bytes:
    """Two values in each other's place."""
    (a, b), (c, d) = sorted(_span(_SCALAR, value, random) for _ in range(2))
    return value if c < b else value[:a] + value[c:d] + value[b:c] + value[a:b] + value[d:]


def _cut_off(value: bytes, random: Random, _: Sequence[bytes]) -> bytes:
    return value[: _at(value, random)]


def _cut_out(value: bytes, random: Random, _: Sequence[bytes]) -> bytes:
    start = _span(_STRUCTURE, value, random)[0]
    return value[:start] + value[start + random.choice((1, 2, 10, 100)) :]


def _splice(value: bytes, random: Random, corpus: Sequence[bytes]) -> bytes:
    """The head of this message and the tail of another."""
    other = random.choice(corpus)
    head, _ = _span(_STRUCTURE, value, random)
    tail, _ = _span(_STRUCTURE, other, random)
    return value[:head] + other[tail:]


def _graft(value: bytes, random: Random, corpus: Sequence[bytes]) -> bytes:
    """Another message in the place of a value."""
    start, end = _span(_SCALAR, value, random)
    return value[:start] + random.choice(corpus) + value[end:]


def _strew(value: bytes, random: Random, _: Sequence[bytes]) -> bytes:
    """Bytes that have no place in JSON, or white space, wherever it may be."""
    pieces = (b"\x00", b"\x1f", b"\x7f", b"\xff", b"\xc3", b"\xed\xa0\x80", b" ", b"\n\t", b"\x0c")
    return _insert(value, _at(value, random), random.choice(pieces) * random.choice((1, 1, 900)))


def _flip(value: bytes, random: Random, _: Sequence[bytes]) -> bytes:
    """One byte exchanged."""
    at = _at(value, random)
    return value[:at] + random.randbytes(1) + value[at + 1 :]


def _escape(value: bytes, random: Random, _: Sequence[bytes]) -> bytes:
    """A letter of a name or text written as an escape."""
    start, end = _span(re.compile(rb"[A-Za-z]"), value, random)
    return value[:start] + b"".join(b"\\u%04x" % byte for byte in value[start:end]) + value[end:]


def _encode(value: bytes, random: Random, _: Sequence[bytes]) -> bytes:
    """All of it in another encoding, or behind a byte order mark."""
    if random.random() < 0.3:
        return b"\xef\xbb\xbf" + value
    text = value.decode(errors="replace")
    return text.encode(random.choice(("utf-16", "utf-16-le", "utf-32", "utf-7")))


# The ones that lead deeper into the decoder are drawn more often.
MUTATIONS: Final[tuple[Mutation, ...]] = (
    *(_exchange, _exchange_field) * 12,
    *(_add_field, _rename, _swap_values, _repeat) * 6,
    *(_nest, _graft, _escape) * 2,
    *(_splice, _cut_off, _cut_out, _strew, _flip, _encode),
)
