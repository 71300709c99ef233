"""Searches a wallet's address in raw bytes, in any spelling, escape and encoding."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from scorestream.wallets.core.wallet_keys import is_hexadecimal

# An address as long as this stands for nothing else, wherever it is found: 20 bytes in hex, base58.
_HEX_DIGITS: Final = 40
_LETTERS: Final = 26
# JSON names it so; a short name counts only behind this.
FIELD: Final = "wallet_address"
FORGOTTEN: Final = b"(forgotten)"
# What stands between two letters where each takes two or four bytes.
_WIDE: Final = rb"\x00{0,3}"
# Without one of these bytes a text is as it looks.
_ESCAPED: Final = re.compile(rb"[\\%\x00]")
_LETTER_OR_DIGIT: Final = rb"[0-9A-Za-z]"


@dataclass(frozen=True)
class WalletSearch:
    """Finds an address, whatever form it has.

    As it is, in JSON's escapes, percent-encoded, in UTF-16 and UTF-32; in hex in any case, and as
    the bytes that the digits stand for. What is compressed, encrypted or in base64 is not
    found.

    Attributes:
        key: see `wallet_key`.
    """

    key: str

    @property
    def is_hexadecimal(self) -> bool:
        """Whether the case of its letters means nothing."""
        return is_hexadecimal(self.key)

    @property
    def is_unmistakable(self) -> bool:
        """Whether it is long enough to stand for nothing else."""
        if self.is_hexadecimal:
            return len(self.key) >= _HEX_DIGITS + 2
        return len(self.key) >= _LETTERS

    def is_in(self, raw: bytes | str | None) -> bool:
        """Whether bytes hold the address; a short one only as JSON names a wallet."""
        if not raw:
            return False
        content = raw.encode("utf-8", "surrogatepass") if isinstance(raw, str) else raw
        if self._binary and self._binary in content:
            return True
        if _ESCAPED.search(content) or not self.is_hexadecimal:
            return self._pattern.search(content) is not None
        # Nearly all bytes are of this kind, and this is fast.
        return self._plain in content.lower() and self._pattern.search(content) is not None

    def redact(self, raw: bytes) -> bytes:
        """Bytes with other letters in the place of the address."""
        return self._pattern.sub(FORGOTTEN, raw)

    @property
    def longest(self) -> int:
        """Bytes that the longest form may take: so much two parts of a text must overlap."""
        return 16 * (len(self.key) + len(FIELD) + 8)

    @cached_property
    def _plain(self) -> bytes:
        return self._digits.encode()

    @property
    def _digits(self) -> str:
        return self.key[2:] if self.is_hexadecimal and self.is_unmistakable else self.key

    @cached_property
    def _binary(self) -> bytes | None:
        digits = self._digits
        if not (self.is_hexadecimal and self.is_unmistakable) or len(digits) % 2:
            return None
        return bytes.fromhex(digits)

    @cached_property
    def _pattern(self) -> re.Pattern[bytes]:
        word = _spelt(self._digits, any_case=self.is_hexadecimal)
        if not self.is_unmistakable:
            quote, space = _spelt('"'), rb"[\s\x00]*"
            named = _spelt(FIELD) + _WIDE + quote + space + _spelt(":") + space + quote
            return re.compile(named + _WIDE + word + _WIDE + quote)
        if self.is_hexadecimal:
            # Also where it fills up a word of 32 bytes, as in the logs of contracts.
            return re.compile(word)
        return re.compile(rb"(?<!%b)%b(?!%b)" % (_LETTER_OR_DIGIT, word, _LETTER_OR_DIGIT))


def _spelt(text: str, *, any_case: bool = False) -> bytes:
    """A pattern of a text whose letters may each be escaped."""
    cases = [{each.lower(), each.upper()} if any_case else {each} for each in text]
    return _WIDE.join(
        b"(?:" + b"|".join(form for letter in sorted(case) for form in _forms(letter)) + b")"
        for case in cases
    )


def _forms(letter: str) -> Iterator[bytes]:
    """Patterns of a letter: as it is, in JSON's escapes, percent-encoded."""
    plain = letter.encode("utf-8", "surrogatepass")
    wide = letter.encode("utf-16-be", "surrogatepass")
    yield re.escape(plain)
    units = (wide[i : i + 2].hex() for i in range(0, len(wide), 2))
    yield b"".join(rb"\\+u(?i:%b)" % unit.encode() for unit in units)
    yield b"".join(b"%%(?i:%02x)" % byte for byte in plain)
    if letter in '"/\\':
        yield rb"\\+" + re.escape(plain)
    if len(plain) > 1:
        yield re.escape(wide)
        yield re.escape(letter.encode("utf-16-le", "surrogatepass"))
