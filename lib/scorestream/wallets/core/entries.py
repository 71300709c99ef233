"""Entries of other categories than `dexes`, decoded by the type that their scorer declares.

A scorer declares a transaction of its category as a struct, for instance::

    class Loan(msgspec.Struct):
        timestamp: Timestamp
        repaid: bool
        usd: Annotated[float, msgspec.Meta(ge=0)] = 0.0
        pool: str | None = None

and is given a table with `message` and a column for each field. A message with an entry that is
otherwise is rejected, by the path of what is wrong. Fields that the struct does not have are
ignored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa
from msgspec import inspect

from scorestream.wallets.core.decode import (
    ABSENT,
    NO_TRANSACTIONS,
    Decoded,
    Reject,
    decode,
    whole_seconds,
)
from scorestream.wallets.core.exact_parser import parse_arrays
from scorestream.wallets.core.messages import DEXES, BadMessage
from scorestream.wallets.core.scorer import EntryType

# The entries whose transactions the core knows, and the tables keep.
DEXES_ENTRIES: Final = EntryType(DEXES)
_INT64: Final = np.iinfo(np.int64)
_FLOATS: Final = pa.float64()


def decode_entries(
    entry_type: EntryType,
    values: Sequence[bytes | None],
    *,
    include_transactions: bool = True,
    refused: Sequence[Reject] = (),
) -> Decoded:
    """Decode the entries of a category.

    Args:
        entry_type: the category, and what its transactions are.
        values: raw message values, None for a record without one.
        include_transactions: of `dexes`, whether all columns of the history are built.
        refused: rejects of messages that are not looked at.

    Returns:
        Every message once, as rows of `rows_schema` (of `dexes` see :func:`decode`) or as a
        reject; one without such entries is rejected as `no_transactions`.
    """
    if entry_type.transaction is None:
        return decode(values, include_transactions=include_transactions, refused=refused)
    decoding = _Decoding(entry_type)
    refused_at = {reject.position for reject in refused}
    for position, value in enumerate(values):
        if position not in refused_at:
            decoding.add(position, value)
    return decoding.result(refused)


def rows_schema(transaction: type[msgspec.Struct]) -> pa.Schema:
    """The columns of a category's transactions.

    Raises:
        TypeError: a field is of a type that no column has, or there is no `timestamp`.
    """
    info = inspect.type_info(transaction)
    assert isinstance(info, inspect.StructType)  # noqa: S101  a struct's is
    columns = [_column(transaction, field) for field in info.fields]
    named = {column.name: column.type for column in columns}
    if named.get("timestamp") != pa.int64():
        raise TypeError(f"{transaction.__name__}: has no timestamp: Timestamp")
    return pa.schema([("message", pa.int32()), *columns])


def _column(transaction: type[msgspec.Struct], field: inspect.Field) -> pa.Field:
    at = f"{transaction.__name__}.{field.name}"
    kind, nullable = field.type, False
    if isinstance(kind, inspect.UnionType):
        kinds = [each for each in kind.types if not isinstance(each, inspect.NoneType)]
        nullable = len(kinds) < len(kind.types)
        kind = kinds[0] if len(kinds) == 1 else kind
    match kind:
        case inspect.IntType(ge=least, le=greatest):
            if least is None or greatest is None or least < _INT64.min or greatest > _INT64.max:
                raise TypeError(f"{at}: give msgspec.Meta(ge=…, le=…) within 64 bits")
            return pa.field(field.name, pa.int64(), nullable)
        case inspect.FloatType():
            return pa.field(field.name, _FLOATS, nullable)
        case inspect.StrType():
            return pa.field(field.name, pa.string(), nullable)
        case inspect.BoolType():
            return pa.field(field.name, pa.bool_(), nullable)
    raise TypeError(f"{at}: must be int, float, str or bool, or one of them or None")


@lru_cache(maxsize=32)
def _decoder(transaction: type[msgspec.Struct]) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(list[transaction])  # type: ignore[valid-type]


class _Decoding:
    """What has been decoded of a batch so far, message by message."""

    def __init__(self, entry_type: EntryType) -> None:
        self._category, transaction = entry_type
        assert transaction is not None  # noqa: S101  decode_entries sees to it
        self._schema = rows_schema(transaction)
        self._decode = _decoder(transaction).decode
        self._positions: list[int] = []
        self._wallets: list[str] = []
        self._counts: list[int] = []
        self._transactions: list[msgspec.Struct] = []
        self._rejects: list[Reject] = []

    def add(self, position: int, value: bytes | None) -> None:
        """Decode a message."""
        try:
            wallet, transactions = self._parse(value)
        except BadMessage as bad:
            self._reject(position, bad)
            return
        if not transactions:
            self._reject(position, BadMessage(ABSENT, NO_TRANSACTIONS, wallet))
            return
        self._positions.append(position)
        self._wallets.append(wallet)
        self._counts.append(len(transactions))
        self._transactions += transactions

    def _parse(self, value: bytes | None) -> tuple[str, list[msgspec.Struct]]:
        wallet, arrays, count = parse_arrays(value, self._category)
        transactions: list[msgspec.Struct] = []
        for path, array in arrays:
            try:
                transactions += self._decode(array)
            except msgspec.ValidationError as error:
                raise BadMessage("invalid_field", _described(path, error), wallet, count) from None
        return wallet, transactions

    def _reject(self, position: int, bad: BadMessage) -> None:
        reject = Reject(
            position,
            bad.code,
            str(bad),
            bad.wallet_address,
            bad.transaction_count,
            category=self._category,
        )
        self._rejects.append(reject)

    def result(self, refused: Sequence[Reject]) -> Decoded:
        """What has been decoded."""
        counts = np.array(self._counts, dtype=np.int64)
        message = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
        columns = [self._values(field) for field in list(self._schema)[1:]]
        rows = pa.Table.from_arrays([pa.array(message), *columns], schema=self._schema)
        rejects = [*self._rejects, *(replace(r, category=self._category) for r in refused)]
        positions = np.array(self._positions, dtype=np.int64)
        return Decoded(positions, self._wallets, counts, rows, rejects)

    def _values(self, field: pa.Field) -> pa.Array:
        values = [getattr(t, field.name) for t in self._transactions]
        if field.name == "timestamp":
            return pa.array(whole_seconds(values))
        return pa.array(values, field.type)


def _described(path: str, error: msgspec.ValidationError) -> str:
    """The error of an array's element by its path: `data[1].transactions[3].usd: expected …`."""
    what, _, where = str(error).partition(" - at `$")
    return f"{path}{where.removesuffix('`')}: {what[:1].lower()}{what[1:]}"
