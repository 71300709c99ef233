"""Random transactions as messages have them: legs that are absent, null, empty, or not in use."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

import pyarrow as pa
from hypothesis import strategies as st

from scorestream.wallets.core.actions import with_values
from scorestream.wallets.core.decode import decode

ACTIONS: Final = ("swap", "deposit", "withdraw", "borrow", "Swap", "")
_LEG_FIELDS: Final = ("tokenIn", "tokenOut", "token0", "token1")
# Pieces of which some make 0x... hex, and others something that looks much like it.
_PIECES: Final = ("0x", "0X", "x", "aB", "19", "F", "g", "é", "\n", " ", "")

texts = st.sampled_from(["", "USDC", "WETH"])
legs = st.none() | st.fixed_dictionaries(
    {},
    optional={
        "amount": st.integers(0, 3),
        "amountUSD": st.sampled_from([0.0, 0.1, 17.5, 1.7e308]),
        "address": st.none() | texts,
        "symbol": st.none() | texts,
    },
)
transactions = st.fixed_dictionaries(
    {
        "document_id": st.sampled_from("abc"),
        "action": st.sampled_from(ACTIONS),
        "timestamp": st.integers(0, 3),
    },
    optional=dict.fromkeys(_LEG_FIELDS, legs),
)
addresses = st.lists(st.sampled_from(_PIECES), max_size=5).map("".join)


def as_message(drawn: Sequence[dict[str, Any]]) -> bytes:
    """A message of these transactions."""
    entry = {"protocolType": "dexes", "transactions": list(drawn)}
    return json.dumps({"wallet_address": "0xAb", "data": [entry]}).encode()


def as_flat_rows(drawn: Sequence[dict[str, Any]]) -> pa.Table:
    """The transactions of one message as the decoder reads them, with their values."""
    return with_values(decode([as_message(drawn)]).rows)
