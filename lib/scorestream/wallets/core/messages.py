"""The wallet message: its types, and the fast one of the two parsers.

:func:`parse_fast` accepts the usual message at the speed of typed decoding and refuses anything
out of the ordinary without saying why. Every other case is decided by
:func:`scorestream.wallets.core.exact_parser.parse_exact`. What both accept, both read alike.

Rules: docs/messages.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Final

import msgspec

from scorestream.infra.times import MAX_SECONDS, MIN_SECONDS
from scorestream.wallets.core.rules import ACTIONS, LEG_FIELDS

MAX_WALLET_CHARACTERS: Final = 256
MAX_AMOUNT: Final = str(2**256 - 1)
DEXES: Final = "dexes"

Timestamp = Annotated[int, msgspec.Meta(ge=MIN_SECONDS, le=MAX_SECONDS * 1000)]
UsdAmount = Annotated[float, msgspec.Meta(ge=0)]
WalletAddress = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_WALLET_CHARACTERS)]
ChainId = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
NO_AMOUNT: Final = msgspec.Raw(b"")


class Leg(msgspec.Struct, gc=False, eq=False):
    """One side of a transaction. ``amount`` stays the bytes of its JSON number or string."""

    amount: msgspec.Raw = NO_AMOUNT
    amountUSD: UsdAmount = 0.0
    address: str | None = None
    symbol: str | None = ""


class Transaction(msgspec.Struct, gc=False):
    """One DEX transaction; an absent string is ``""``, a null one is ``None``."""

    document_id: str
    action: str
    timestamp: Timestamp
    protocol: str | None = ""
    poolId: str | None = ""
    poolName: str | None = ""
    caller: str | None = ""
    chainId: ChainId | None = None
    tokenIn: Leg | None = None
    tokenOut: Leg | None = None
    token0: Leg | None = None
    token1: Leg | None = None


class Entry(msgspec.Struct, gc=False):
    """The transactions of one kind of protocol."""

    protocolType: str
    transactions: list[Transaction]


class Message(msgspec.Struct, gc=False):
    """One wallet's message."""

    wallet_address: WalletAddress
    data: list[Entry]
    chainId: ChainId | None = None


class BadMessage(Exception):
    """A message that cannot be scored.

    Attributes:
        code: stable machine-readable cause, one of the codes of docs/messages.md.
        wallet_address: what could be read of it, else None; at most 256 characters.
        transaction_count: dexes transactions that could be counted.
    """

    def __init__(
        self, code: str, error: str, wallet_address: str | None = None, transaction_count: int = 0
    ) -> None:
        super().__init__(error)
        self.code = code
        self.wallet_address = wallet_address
        self.transaction_count = transaction_count


# Action -> the fields of the legs that it uses.
LEGS_OF_ACTION: Final = {
    action.name: tuple(LEG_FIELDS[leg] for leg in action.legs) for action in ACTIONS
}


class _OpenEntry(msgspec.Struct, gc=False):
    """An entry whose transactions are read only if they are of dexes."""

    protocolType: str
    transactions: msgspec.Raw = msgspec.Raw(b"")


class _OpenMessage(msgspec.Struct, gc=False):
    wallet_address: WalletAddress
    data: list[_OpenEntry]
    chainId: ChainId | None = None


_decoder = msgspec.json.Decoder(Message)
_open_decoder = msgspec.json.Decoder(_OpenMessage)
decode_transactions = msgspec.json.Decoder(list[Transaction]).decode


def parse_fast(value: bytes) -> Message | None:
    """Decode a usual message; None for any that :func:`parse_exact` must look at.

    The types leave open how deep skipped values are nested, and what amounts are: that is checked
    for many messages at once, by `json_brackets` and :func:`are_amounts`.
    """
    if not value.isascii() and not _is_utf8(value):
        return None
    try:
        return _decoder.decode(value)
    except msgspec.ValidationError:
        return _parse_open(value)
    except (msgspec.MsgspecError, RecursionError):
        return None


def _parse_open(value: bytes) -> Message | None:
    """Decode a message in which entries of other protocols have other shapes."""
    try:
        message = _open_decoder.decode(value)
        of_dexes = [entry for entry in message.data if entry.protocolType == DEXES]
        if len(of_dexes) == len(message.data):
            return None
        entries = [Entry(DEXES, decode_transactions(entry.transactions)) for entry in of_dexes]
    except (msgspec.MsgspecError, RecursionError):
        return None
    return Message(message.wallet_address, entries, message.chainId)


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def are_amounts(amounts: Sequence[msgspec.Raw]) -> bool:
    """Whether all amounts are digits as they are stored, bare or quoted, at most 77 characters."""
    # No JSON value has a line feed within, so that none can pass for two.
    joined = b"\n".join(amounts)
    if b'"' in joined:
        if b'""' in joined or joined.count(b'"0') != joined.count(b'"0"'):
            return False
        joined = joined.replace(b'"', b"")
    digits = joined.replace(b"\n", b"")
    return not digits or (digits.isdigit() and max(map(len, joined.split(b"\n"))) < len(MAX_AMOUNT))


def iso_time(seconds: int) -> str:
    """Unix seconds as ISO 8601 in UTC; as they are where no calendar has them."""
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"
    except (ValueError, OverflowError):
        return str(seconds)
