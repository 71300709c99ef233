"""Which wallet an address names: addresses are stored as given, a wallet goes by its key."""

from __future__ import annotations

import re

import pyarrow as pa
import pyarrow.compute as pc

from scorestream.wallets.core.rules import HEXADECIMAL

_hexadecimal = re.compile(HEXADECIMAL).fullmatch


def is_hexadecimal(address: str) -> bool:
    """Whether an address is 0x... hex, so that its case does not matter."""
    return _hexadecimal(address) is not None


def wallet_key(address: str) -> str:
    """The lower-case form of 0x... hex, anything else as it is."""
    return address.lower() if is_hexadecimal(address) else address


def wallet_keys(addresses: pa.StringArray) -> pa.StringArray:
    """:func:`wallet_key` of n addresses; null of null."""
    hexadecimal = pc.match_substring_regex(addresses, f"^{HEXADECIMAL}$")
    return pc.if_else(hexadecimal, pc.ascii_lower(addresses), addresses)


def stored_wallet_keys(rows: pa.Table | pa.RecordBatch) -> pa.StringArray:
    """The key of each row of a table; rows of earlier versions have an address only."""
    keys = wallet_keys(rows["wallet_address"])
    if "wallet_key" not in rows.schema.names:
        return keys
    return pc.coalesce(rows["wallet_key"], keys)
