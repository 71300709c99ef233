"""The wallet message: its types and the two parsers, a fast one and an exact one.

:func:`parse_fast` accepts the usual message at the speed of typed decoding and refuses anything
out of the ordinary without saying why. :func:`parse_exact` decides every other case: it accepts
the unusual (numeric text, milliseconds as text, other protocols' entries of any shape) and names
the first problem of a bad message by its path. What both accept, both read alike.

Rules: SCORING.md section 1, reproduced in docs/messages.md.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Annotated, Any, Final, NoReturn

import msgspec
import numpy as np

MAX_DEPTH: Final = 512
MAX_WALLET_CHARACTERS: Final = 256
MAX_AMOUNT: Final = str(2**256 - 1)
# Beyond this a timestamp is milliseconds. It is also the last second that is believed (year 5138).
MAX_SECONDS: Final = 10**11
# Year 1: the earliest moment that Spark's and Python's timestamps can hold.
MIN_SECONDS: Final = -62_135_596_800
SHOWN_CHARACTERS: Final = 80
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


LEGS_OF_ACTION: Final = {
    "swap": ("tokenIn", "tokenOut"),
    "deposit": ("token0", "token1"),
    "withdraw": ("token0", "token1"),
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
_transactions_decoder = msgspec.json.Decoder(list[Transaction])


def parse_fast(value: bytes) -> Message | None:
    """Decode a usual message; None for any that :func:`parse_exact` must look at.

    The types leave open how deep skipped values are nested, and what amounts are: that is checked
    for many messages at once, with :func:`count_brackets` and :func:`are_amounts`.
    """
    if not value.isascii() and not _is_utf8(value):
        return None
    try:
        return _decoder.decode(value)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _parse_open(value)


def _parse_open(value: bytes) -> Message | None:
    """Decode a message in which entries of other protocols have other shapes."""
    try:
        message = _open_decoder.decode(value)
        entries = [
            Entry(DEXES, _transactions_decoder.decode(entry.transactions))
            for entry in message.data
            if entry.protocolType == DEXES
        ]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return Message(message.wallet_address, entries, message.chainId)


def count_brackets(values: Sequence[bytes]) -> int:
    """Opening brackets in the bytes of messages, those within strings too."""
    joined = np.frombuffer(b"".join(values), dtype=np.uint8)
    # "[" and "{" differ in this one bit.
    return int(np.count_nonzero((joined & 0xDF) == ord("[")))


def is_deep(value: bytes) -> bool:
    """Whether a JSON value is nested deeper than `MAX_DEPTH`."""
    return _depth(value.decode()) > MAX_DEPTH


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


class _Number(str):
    """A JSON number as it was written, so that no digit of it is lost."""

    __slots__ = ()


def parse_exact(value: bytes | None) -> Message:
    """Decode any acceptable message, or say what is wrong with it.

    Raises:
        BadMessage: with the code, the path of the first problem, and what could be read.
    """
    document = _parse_json(value)
    wallet = _readable_wallet(document)
    count = _countable_transactions(document)
    try:
        return _message(document)
    except _Problem as problem:
        raise BadMessage(problem.code, str(problem), wallet, count) from None


def _parse_json(value: bytes | None) -> Any:
    """Parse bytes to Python values, numbers kept as text; every failure is a BadMessage."""
    if value is None:
        raise BadMessage("null_value", "the record has no value")
    try:
        text = value.decode()
    except UnicodeDecodeError as error:
        raise BadMessage(
            "invalid_utf8", f"not UTF-8: {error.reason} at byte {error.start}", wallet_in(value)
        ) from None
    if text.count("{") + text.count("[") > MAX_DEPTH and _depth(text) > MAX_DEPTH:
        raise BadMessage(
            "too_deep", f"nested deeper than {MAX_DEPTH} levels", wallet_in(value)
        ) from None
    try:
        return json.loads(
            text, parse_int=_Number, parse_float=_Number, parse_constant=_refuse_constant
        )
    except json.JSONDecodeError as error:
        where = f"line {error.lineno} column {error.colno}"
        raise BadMessage(
            "invalid_json", f"not JSON: {error.msg} at {where}", wallet_in(value)
        ) from None
    except _Problem as problem:
        raise BadMessage(problem.code, str(problem), wallet_in(value)) from None


class _Problem(Exception):
    """The first problem of a message: a code, and a text that names the path."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


def _refuse_constant(name: str) -> NoReturn:
    raise _Problem("invalid_json", f"not JSON: {name} is not a JSON value")


_STRINGS = re.compile(r'"(?:[^"\\]|\\.)*"?', re.DOTALL)
_BRACKETS = re.compile(r"[\[{\]}]")


def _depth(text: str) -> int:
    depth = deepest = 0
    for bracket in _BRACKETS.findall(_STRINGS.sub("", text)):
        depth += 1 if bracket in "[{" else -1
        deepest = max(deepest, depth)
    return deepest


_WALLET = re.compile(rb'\s*\{\s*"wallet_address"\s*:\s*"([^"\\\x00-\x1f]{1,1024})"')


def wallet_in(value: bytes) -> str | None:
    """The address at the head of a message that cannot be read, cut off for instance."""
    found = _WALLET.match(value)
    if found is None:
        return None
    wallet = found[1].decode(errors="replace")
    return wallet if len(wallet) <= MAX_WALLET_CHARACTERS else None


def _readable_wallet(document: Any) -> str | None:
    wallet = document.get("wallet_address") if isinstance(document, dict) else None
    if not isinstance(wallet, str) or isinstance(wallet, _Number) or not _is_text(wallet):
        return None
    return wallet[:MAX_WALLET_CHARACTERS]


def _countable_transactions(document: Any) -> int:
    data = document.get("data") if isinstance(document, dict) else None
    lists = [
        entry.get("transactions")
        for entry in (data if isinstance(data, list) else [])
        if isinstance(entry, dict) and entry.get("protocolType") == DEXES
    ]
    return sum(len(rows) for rows in lists if isinstance(rows, list))


def _message(document: Any) -> Message:
    fields = _object(document, "message")
    wallet = _text(_required(fields, "wallet_address", ""), "wallet_address")
    if not 1 <= len(wallet) <= MAX_WALLET_CHARACTERS:
        raise _Problem(
            "invalid_wallet_address",
            f"wallet_address: must have 1 to {MAX_WALLET_CHARACTERS} characters, has {len(wallet)}",
        )
    entries = _list(_required(fields, "data", ""), "data")
    dexes = [_entry(entry, f"data[{i}]") for i, entry in enumerate(entries)]
    return Message(wallet, [e for e in dexes if e is not None], _chain_id(fields, ""))


def _entry(value: Any, path: str) -> Entry | None:
    fields = _object(value, path)
    kind = _text(_required(fields, "protocolType", f"{path}."), f"{path}.protocolType")
    if kind != DEXES:
        return None
    path = f"{path}.transactions"
    rows = _list(_required(fields, "transactions", path[: -len("transactions")]), path)
    return Entry(kind, [_transaction(row, f"{path}[{i}]") for i, row in enumerate(rows)])


def _transaction(value: Any, path: str) -> Transaction:
    fields = _object(value, path)
    at = f"{path}."
    action = _text(_required(fields, "action", at), f"{at}action")
    used = LEGS_OF_ACTION.get(action, ())
    return Transaction(
        document_id=_text(_required(fields, "document_id", at), f"{at}document_id"),
        action=action,
        timestamp=_timestamp(_required(fields, "timestamp", at), f"{at}timestamp"),
        protocol=_optional_text(fields, "protocol", at, ""),
        poolId=_optional_text(fields, "poolId", at, ""),
        poolName=_optional_text(fields, "poolName", at, ""),
        caller=_optional_text(fields, "caller", at, ""),
        chainId=_chain_id(fields, at),
        **{name: _leg(fields.get(name), f"{at}{name}") for name in used},
    )


def _leg(value: Any, path: str) -> Leg | None:
    if value is None:
        return None
    fields = _object(value, path)
    at = f"{path}."
    usd = fields.get("amountUSD", _Number("0"))
    return Leg(
        amount=_amount(fields["amount"], f"{at}amount") if "amount" in fields else NO_AMOUNT,
        amountUSD=_usd(usd, f"{at}amountUSD"),
        address=_optional_text(fields, "address", at, None),
        symbol=_optional_text(fields, "symbol", at, ""),
    )


def _usd(value: Any, path: str) -> float:
    """A finite number >= 0, correctly rounded to a float."""
    usd = float(value) if isinstance(value, _Number) else math.nan
    if not math.isfinite(usd) or usd < 0:
        raise _Problem(
            "invalid_amount", f"{path}: must be a finite number >= 0, is {_shown(value)}"
        )
    return usd


def _amount(value: Any, path: str) -> msgspec.Raw:
    """Raw token units: an integer of 0 to 2^256-1, as a number or as text."""
    units = _integer(value, limit=2**256 - 1)
    if units is None or units < 0:
        raise _Problem(
            "invalid_amount", f"{path}: must be an integer from 0 to 2^256-1, is {_shown(value)}"
        )
    return msgspec.Raw(str(units).encode())


def _timestamp(value: Any, path: str) -> int:
    """Unix seconds; the division of milliseconds comes later, for all rows at once."""
    seconds = _integer(value, limit=MAX_SECONDS * 1000)
    if seconds is None or seconds < MIN_SECONDS:
        raise _Problem(
            "invalid_timestamp",
            f"{path}: must be unix seconds or milliseconds, integral, is {_shown(value)}",
        )
    return seconds


def _chain_id(fields: dict[str, Any], at: str) -> int | None:
    value = fields.get("chainId")
    if value is None:
        return None
    chain = _integer(value, limit=2**63 - 1)
    if chain is None or chain < 0:
        raise _Problem("invalid_type", f"{at}chainId: must be an integer >= 0, is {_shown(value)}")
    return chain


_DECIMAL = re.compile(r"[+-]?[0-9]{1,400}(?:\.[0-9]{1,400})?(?:[eE][+-]?[0-9]{1,3})?")


def _integer(value: Any, limit: int) -> int | None:
    """The integer a JSON number or a numeric string stands for; None if none within +-limit."""
    if not isinstance(value, str) or not _DECIMAL.fullmatch(value):
        return None
    number = Decimal(value)
    # abs() would round to the context's 28 digits.
    if number.copy_abs() > limit or number != number.to_integral_value():
        return None
    return int(number)


def _required(fields: dict[str, Any], name: str, at: str) -> Any:
    if name not in fields:
        raise _Problem("missing_field", f"{at}{name}: is missing")
    return fields[name]


def _object(value: Any, path: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _Problem("invalid_type", f"{path}: must be an object, is {_shown(value)}")
    return value


def _list(value: Any, path: str) -> list[Any]:
    if not isinstance(value, list):
        raise _Problem("invalid_type", f"{path}: must be an array, is {_shown(value)}")
    return value


def _text(value: Any, path: str) -> str:
    if not isinstance(value, str) or isinstance(value, _Number):
        raise _Problem("invalid_type", f"{path}: must be a string, is {_shown(value)}")
    if not _is_text(value):
        raise _Problem("invalid_utf8", f"{path}: has a lone surrogate, which UTF-8 cannot hold")
    return value


def _optional_text(fields: dict[str, Any], name: str, at: str, absent: str | None) -> str | None:
    value = fields.get(name, absent)
    return None if value is None else _text(value, f"{at}{name}")


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _shown(value: Any) -> str:
    """A value as an error text shows it: bounded, however large the value is."""
    if isinstance(value, _Number):
        return value[:SHOWN_CHARACTERS]
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case dict():
            return f"an object of {len(value)} fields"
        case list():
            return f"an array of {len(value)} elements"
    return json.dumps(value[:SHOWN_CHARACTERS])
