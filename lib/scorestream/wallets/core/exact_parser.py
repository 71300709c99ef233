"""The exact parser of wallet messages: decides every case that the fast one leaves open.

It accepts the unusual (numeric text, milliseconds as text, other protocols' entries of any shape)
and names the first problem of a bad message by its path. Only the transactions that are accepted
are kept as Python values; all else stays bytes, of which arrays are opened element by element. So
what costs memory is transactions, not what is around them, nor what stands in their place.

Rules: docs/messages.md.
"""

from __future__ import annotations

import json
import math
import re
import secrets
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from itertools import islice
from typing import Any, Final, TypeGuard, TypeVar

import msgspec

from scorestream.infra.times import MAX_SECONDS, MIN_SECONDS
from scorestream.wallets.core.json_brackets import (
    MAX_DEPTH,
    count_brackets,
    count_elements,
    element_bounds,
    is_deep,
    nested_bounds,
)
from scorestream.wallets.core.messages import (
    DEXES,
    LEGS_OF_ACTION,
    MAX_WALLET_CHARACTERS,
    NO_AMOUNT,
    BadMessage,
    Entry,
    Leg,
    Message,
    Transaction,
    are_amounts,
    decode_transactions,
)

_Found = TypeVar("_Found")

SHOWN_CHARACTERS: Final = 80
# So many neighbouring transactions are tried at once.
GROUP: Final = 256
_ABSENT: Final = msgspec.Raw(b"")
_decode_raw = msgspec.json.Decoder(msgspec.Raw).decode
_decode_leg = msgspec.json.Decoder(Leg).decode
_decode_text = msgspec.json.Decoder(str).decode


# Stands for a lone surrogate, which no decoder takes; no message can have it but by chance.
_LONE: Final = f"\ufffd{secrets.token_hex(8)}"
_LONE_BYTES: Final = _LONE.encode()


def _fields_decoder(names: str) -> Callable[[bytes], msgspec.Struct]:
    """A decoder of an object's fields of these names as bytes; it skips all others."""
    fields = [(name, msgspec.Raw, _ABSENT) for name in names.split()]
    return msgspec.json.Decoder(msgspec.defstruct("Fields", fields, gc=False)).decode


_MESSAGE: Final = _fields_decoder("wallet_address data chainId")
_ENTRY: Final = _fields_decoder("protocolType transactions")
_TRANSACTION: Final = _fields_decoder(
    "document_id action timestamp protocol poolId poolName caller chainId "
    "tokenIn tokenOut token0 token1"
)
_LEG: Final = _fields_decoder("amount amountUSD address symbol")


class _Number(str):
    """A JSON number as it was written, so that no digit of it is lost."""

    __slots__ = ()


class _Problem(Exception):
    """The first problem of a message: a code, and a text that names the path."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


def parse_exact(value: bytes | None) -> Message:
    """Decode any acceptable message, or say what is wrong with it.

    Raises:
        BadMessage: with the code, the path of the first problem, and what could be read.
    """
    return _parse(value, DEXES, _message)


def parse_arrays(
    value: bytes | None, category: str
) -> tuple[str, list[tuple[str, msgspec.Raw]], int]:
    """Find the transactions of a category, which are not looked into.

    Returns:
        The wallet; the path and the array of the transactions of each entry of the category; how
        many they are.

    Raises:
        BadMessage: what is around them is not as it must be.
    """

    def arrays(document: Any) -> tuple[str, list[tuple[str, msgspec.Raw]], int]:
        wallet, _, entries = _envelope(document)
        found = [a for i, each in enumerate(entries) if (a := _array(each, i, category))]
        return wallet, found, sum(count_elements(bytes(array)) for _, array in found)

    return _parse(value, category, arrays)


def _parse(value: bytes | None, category: str, find: Callable[[Any], _Found]) -> _Found:
    if value is None:
        raise BadMessage("null_value", "the record has no value")
    try:
        document = _document(value)
    except _Problem as problem:
        raise BadMessage(problem.code, str(problem), wallet_in(value)) from None
    try:
        return find(document)
    except _Problem as problem:
        wallet, count = _readable_wallet(document), _countable_transactions(document, category)
        raise BadMessage(problem.code, str(problem), wallet, count) from None


def _document(value: bytes) -> msgspec.Raw:
    """The JSON value that bytes hold, not looked into yet.

    Text that is not kept may have lone surrogates; `_LONE` is put in their place.
    """
    try:
        value.decode()
    except UnicodeDecodeError as error:
        raise _Problem("invalid_utf8", f"not UTF-8: {error.reason} at byte {error.start}") from None
    if count_brackets([value]) > MAX_DEPTH and is_deep(value):
        raise _Problem("too_deep", f"nested deeper than {MAX_DEPTH} levels")
    try:
        return _decode_raw(value)
    except msgspec.DecodeError as error:
        # Of the same length, so that what else is wrong has its place in the message.
        harmless = _without_lone_surrogates(value, rb"\ufffd")
        if harmless == value:
            raise _not_json(value, error) from None
    try:
        _decode_raw(harmless)
    except msgspec.DecodeError as error:
        raise _not_json(value, error) from None
    return _decode_raw(_without_lone_surrogates(value, _LONE_BYTES))


# A pair that belongs together, or one that is alone.
_SURROGATES = re.compile(
    rb"\\u[dD](?:[89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|([89a-fA-F][0-9a-fA-F]{2}))"
)


def _without_lone_surrogates(value: bytes, other: bytes) -> bytes:
    """A message with something else in the place of each surrogate that is alone."""
    # Joining millions of pieces would take a hundred bytes for each.
    result, end = bytearray(), 0
    for found in _SURROGATES.finditer(value.replace(rb"\\", b"  ")):
        if found[1]:
            result += value[end : found.start()] + other
            end = found.end()
    return bytes(result + value[end:])


_BYTE = re.compile(r"(?:JSON is malformed: )?(.*?) \(byte (\d+)\)")
_CONSTANT = re.compile(rb"-?(?:NaN|Infinity)")


def _not_json(value: bytes, error: msgspec.DecodeError) -> _Problem:
    found = _BYTE.fullmatch(str(error))
    if value.startswith(b"\xef\xbb\xbf"):
        what = "begins with a byte order mark"
    elif found is None:
        what = f"cut off at byte {len(value)}"
    else:
        at = int(found[2])
        # Behind a minus sign the place told is that of the letter.
        constant = _CONSTANT.match(value, max(at - 1, 0)) or _CONSTANT.match(value, at)
        what = f"{constant[0].decode()} is not a JSON value" if constant else found[1]
        what += f" at byte {at}"
    return _Problem("invalid_json", f"not JSON: {what}")


_WALLET = re.compile(rb'\s*\{\s*"wallet_address"\s*:\s*"([^"\\\x00-\x1f]{1,1024})"')


def wallet_in(value: bytes) -> str | None:
    """The address at the head of a message that is not JSON, cut off for instance."""
    found = _WALLET.match(value)
    if found is None:
        return None
    wallet = found[1].decode(errors="replace")
    return wallet if len(wallet) <= MAX_WALLET_CHARACTERS else None


def _readable_wallet(document: Any) -> str | None:
    if not _is_object(document):
        return None
    wallet = _object(document, "", _MESSAGE).get("wallet_address")
    if not isinstance(wallet, str) or isinstance(wallet, _Number) or not _is_text(wallet):
        return None
    return wallet[:MAX_WALLET_CHARACTERS]


def _countable_transactions(document: Any, category: str) -> int:
    data = _object(document, "", _MESSAGE).get("data") if _is_object(document) else None
    entries = _elements(data, nested_bounds) if _is_list(data) else iter(())
    fields = (_object(entry, "", _ENTRY) for entry in entries if _is_object(entry))
    lists = (f.get("transactions") for f in fields if f.get("protocolType") == category)
    return sum(count_elements(bytes(rows)) for rows in lists if _is_list(rows))


def _message(document: Any) -> Message:
    wallet, fields, entries = _envelope(document)
    dexes = (_entry(entry, f"data[{i}]") for i, entry in enumerate(entries))
    return Message(wallet, [e for e in dexes if e is not None], _chain_id(fields, ""))


def _envelope(document: Any) -> tuple[str, dict[str, Any], Iterator[msgspec.Raw]]:
    """The wallet, all fields, and the entries of a message."""
    fields = _object(document, "message", _MESSAGE)
    wallet = _text(_required(fields, "wallet_address", ""), "wallet_address")
    if not 1 <= len(wallet) <= MAX_WALLET_CHARACTERS:
        raise _Problem(
            "invalid_wallet_address",
            f"wallet_address: must have 1 to {MAX_WALLET_CHARACTERS} characters, has {len(wallet)}",
        )
    return wallet, fields, _list(_required(fields, "data", ""), "data")


def _array(entry: Any, number: int, category: str) -> tuple[str, msgspec.Raw] | None:
    """Path and array of an entry's transactions; None: it is of another category."""
    path = f"data[{number}]"
    kind, fields = _kind(entry, path)
    if kind != category:
        return None
    array, path = _required(fields, "transactions", f"{path}."), f"{path}.transactions"
    if not _is_list(array):
        raise _not_a_list(array, path)
    if _LONE_BYTES in bytes(array):
        raise _Problem("invalid_utf8", f"{path}: has a lone surrogate, which UTF-8 cannot hold")
    return path, array


def _kind(entry: Any, path: str) -> tuple[str, dict[str, Any]]:
    """The category of an entry, and its fields."""
    fields = _object(entry, path, _ENTRY)
    kind = _required(fields, "protocolType", f"{path}.")
    return _text(kind, f"{path}.protocolType"), fields


def _entry(value: Any, path: str) -> Entry | None:
    kind, fields = _kind(value, path)
    if kind != DEXES:
        return None
    rows = _list(_required(fields, "transactions", f"{path}."), f"{path}.transactions")
    transactions: list[Transaction] = []
    while group := list(islice(rows, GROUP)):
        transactions += _transactions(group, len(transactions), f"{path}.transactions")
    return Entry(kind, transactions)


def _transactions(rows: Sequence[Any], first: int, path: str) -> list[Transaction]:
    """Neighbouring transactions, the first of them at this place of the list.

    Halved until what is unusual is alone, as most rows of most messages are usual.
    """
    if len(rows) == 1:
        return [_transaction(rows[0], f"{path}[{first}]")]
    if (usual := _usual_transactions(rows)) is not None:
        return usual
    half = len(rows) // 2
    left = _transactions(rows[:half], first, path)
    return left + _transactions(rows[half:], first + half, path)


def _usual_transactions(rows: Sequence[msgspec.Raw]) -> list[Transaction] | None:
    """The transactions, if the fast parser would take them all."""
    joined = b"[" + b",".join(rows) + b"]"
    if _LONE_BYTES in joined:
        return None
    try:
        decoded = decode_transactions(joined)
    except (msgspec.ValidationError, RecursionError):
        return None
    used = [getattr(t, name) for t in decoded for name in LEGS_OF_ACTION.get(t.action, ())]
    return decoded if are_amounts([leg.amount for leg in used if leg]) else None


def _transaction(value: Any, path: str) -> Transaction:
    fields = _object(value, path, _TRANSACTION)
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
    if (usual := _usual_leg(value)) is not None:
        return usual
    fields = _object(value, path, _LEG)
    at = f"{path}."
    usd = fields.get("amountUSD", _Number("0"))
    return Leg(
        amount=_amount(fields["amount"], f"{at}amount") if "amount" in fields else NO_AMOUNT,
        amountUSD=_usd(usd, f"{at}amountUSD"),
        address=_optional_text(fields, "address", at, None),
        symbol=_optional_text(fields, "symbol", at, ""),
    )


def _usual_leg(value: Any) -> Leg | None:
    """The leg, if the fast parser would take it."""
    if not _is_object(value) or _LONE_BYTES in bytes(value):
        return None
    try:
        leg = _decode_leg(value)
    except msgspec.ValidationError:
        return None
    return leg if are_amounts([leg.amount]) else None


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


def _is_object(value: Any) -> TypeGuard[msgspec.Raw]:
    return isinstance(value, msgspec.Raw) and _first(value) == b"{"


def _is_list(value: Any) -> TypeGuard[msgspec.Raw]:
    return isinstance(value, msgspec.Raw) and _first(value) == b"["


def _first(value: msgspec.Raw) -> bytes:
    return bytes(memoryview(value)[:1])


def _object(
    value: Any, path: str, decode_fields: Callable[[bytes], msgspec.Struct]
) -> dict[str, Any]:
    """The fields of an object that somebody asks for, as far as it has them."""
    if not _is_object(value):
        raise _Problem("invalid_type", f"{path}: must be an object, is {_shown(value)}")
    fields = decode_fields(value)
    found = ((name, getattr(fields, name)) for name in fields.__struct_fields__)
    return {name: _opened(raw) for name, raw in found if raw is not _ABSENT}


def _opened(value: msgspec.Raw) -> Any:
    """A string, number or literal as a Python value; objects and arrays stay bytes."""
    match _first(value):
        case b"{" | b"[":
            return value
        case b'"':
            return _decode_text(value)
        case b"n" | b"t" | b"f":
            return json.loads(bytes(value))
    return _Number(bytes(value).decode())


def _list(value: Any, path: str) -> Iterator[msgspec.Raw]:
    if not _is_list(value):
        raise _not_a_list(value, path)
    return _elements(value)


def _not_a_list(value: Any, path: str) -> _Problem:
    return _Problem("invalid_type", f"{path}: must be an array, is {_shown(value)}")


def _elements(
    array: msgspec.Raw, bounds: Callable[[bytes], Iterator[tuple[int, int]]] = element_bounds
) -> Iterator[msgspec.Raw]:
    """The elements of an array, not looked into yet; one at a time, as there may be millions."""
    value = bytes(array)
    letters = memoryview(value)
    return (_decode_raw(letters[start:end]) for start, end in bounds(value))


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
    return _LONE not in value


def _shown(value: Any) -> str:
    """A value as an error text shows it: bounded, however large the value is."""
    if _is_object(value):
        return "an object"
    if _is_list(value):
        return "an array"
    if isinstance(value, msgspec.Raw):
        value = _opened(value)
    if isinstance(value, _Number):
        return value[:SHOWN_CHARACTERS]
    if isinstance(value, str):
        value = value.replace(_LONE, "\ufffd")
    # Cut once more: a character that is escaped takes six.
    text = json.dumps(value[:SHOWN_CHARACTERS] if isinstance(value, str) else value)
    return text[: SHOWN_CHARACTERS + 2]
