"""Which wallet an address names: addresses are kept as given, one wallet goes by one key."""

from __future__ import annotations

import re
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

HEXADECIMAL: Final = "^0[xX][0-9a-fA-F]*$"
_hexadecimal = re.compile(HEXADECIMAL[:-1]).fullmatch


def wallet_key(address: str) -> str:
    """The lower-case form of 0x... hex, anything else as it is."""
    return address.lower() if _hexadecimal(address) else address


def wallet_keys(addresses: pa.StringArray) -> pa.StringArray:
    """:func:`wallet_key` of n addresses."""
    hexadecimal = pc.match_substring_regex(addresses, HEXADECIMAL)
    return pc.if_else(hexadecimal, pc.ascii_lower(addresses), addresses)
