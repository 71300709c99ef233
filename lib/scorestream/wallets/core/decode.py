"""bytes -> transactions: message values into one columnar, exploded table, and rejects."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, Final, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from scorestream.infra.times import MAX_SECONDS
from scorestream.wallets.core import schemas
from scorestream.wallets.core.actions import with_values
from scorestream.wallets.core.exact_parser import parse_exact
from scorestream.wallets.core.json_brackets import MAX_DEPTH, count_brackets, is_deep
from scorestream.wallets.core.legs import nested_legs
from scorestream.wallets.core.messages import (
    DEXES,
    BadMessage,
    Leg,
    Message,
    Transaction,
    are_amounts,
    parse_fast,
)

NO_TRANSACTIONS: Final = "No valid transactions found"
# The code of that: the message does not have the category.
ABSENT: Final = "no_transactions"
DEFAULT_CHAIN: Final = 1
# The Python objects of so many bytes stay in the processor's second-level cache until they have
# become columns: measured, blocks four times as large or as small are slower.
BLOCK_BYTES: Final = 256 * 1024
# Message, entries, entry, transactions, transaction, leg: where anything else begins.
_LEG_DEPTH: Final = 6
_EMPTY_LEG: Final = Leg()
_ESCAPED_BRACKET: Final = re.compile(rb"\\u00[57][bB]")
_LP_ACTIONS: Final = frozenset({"deposit", "withdraw"})


@dataclass(frozen=True)
class Reject:
    """Why a message of the batch could not be scored.

    Attributes:
        position: row of the message in its batch.
        wallet_address: what could be read of it, else None.
        category: whose transactions are counted, and cannot be scored.
        scoring: which scoring has no score of it; None: all that were asked for.
    """

    position: int
    code: str
    error: str
    wallet_address: str | None
    transaction_count: int
    category: str = DEXES
    scoring: str | None = None


@dataclass(frozen=True)
class Decoded:
    """A decoded batch.

    Attributes:
        positions: int64[n], the row in the batch of each of the n accepted messages.
        wallets: the n wallet addresses, as given.
        counts: int64[n], the number of rows of each, at least 1.
        rows: flat transactions, `SCORING_ROWS` or more; `message` counts accepted messages from 0,
            ascending.
        rejects: one for each message that is not accepted.
    """

    positions: npt.NDArray[np.int64]
    wallets: list[str]
    counts: npt.NDArray[np.int64]
    rows: pa.Table
    rejects: list[Reject]


def decode(
    values: Sequence[bytes | None],
    *,
    include_transactions: bool = True,
    refused: Sequence[Reject] = (),
) -> Decoded:
    """Decode message values into transactions.

    Args:
        values: raw message values, None for a record without one.
        include_transactions: whether the columns that only the history table needs are built too.
        refused: rejects of messages that are not looked at.

    Returns:
        Every message once: as rows of `HISTORY_ROWS` (`SCORING_ROWS` without transactions), or as a
        reject. A bad message changes nothing for its neighbours.
    """
    decoding = _Decoding(include_transactions=include_transactions)
    refused_at = {reject.position for reject in refused}
    for start, end in _blocks(values):
        positions = [at for at in range(start, end) if at not in refused_at]
        decoding.add(positions, [values[at] for at in positions])
    decoded = decoding.result()
    return replace(decoded, rejects=[*decoded.rejects, *refused])


def _blocks(values: Sequence[bytes | None]) -> Iterator[tuple[int, int]]:
    """Bounds of runs of messages of about `BLOCK_BYTES`."""
    start = size = 0
    for end, value in enumerate(values, start=1):
        size += len(value or b"")
        if size >= BLOCK_BYTES or end == len(values):
            yield start, end
            start, size = end, 0


class _Block:
    """Neighbouring messages, few enough for their Python objects to stay in the processor's cache.

    A block is either decoded fast as a whole, or not at all.
    """

    def __init__(self, messages: Sequence[Message]) -> None:
        of_dexes = [
            [e.transactions for e in message.data if e.protocolType == DEXES]
            for message in messages
        ]
        self.counts = [sum(map(len, lists)) for lists in of_dexes]
        # A message and its list of entries, an entry and its list of transactions.
        self._brackets = sum(2 + 2 * len(message.data) for message in messages)
        self.wallets = [message.wallet_address for message in messages]
        self.chains = [
            DEFAULT_CHAIN if message.chainId is None else message.chainId for message in messages
        ]
        self.transactions = list(chain.from_iterable(chain.from_iterable(of_dexes)))
        # `LEGS_OF_ACTION` written out: to look it up would take half as long again, for every
        # transaction. A test compares the two.
        self.legs0 = [
            (t.tokenIn if (a := t.action) == "swap" else t.token0 if a in _LP_ACTIONS else None)
            or _EMPTY_LEG
            for t in self.transactions
        ]
        self.legs1 = [
            (t.tokenOut if (a := t.action) == "swap" else t.token1 if a in _LP_ACTIONS else None)
            or _EMPTY_LEG
            for t in self.transactions
        ]

    def is_usual(self, values: Sequence[bytes]) -> bool:
        """Whether nothing needs the exact parser; `values` are the messages' bytes."""
        amounts = [leg.amount for leg in self.legs0] + [leg.amount for leg in self.legs1]
        if not are_amounts(amounts):
            return False
        # Whatever is nested deep has as many brackets, beyond those that are known.
        excess = count_brackets(values) - self._known_brackets()
        allowed = MAX_DEPTH - _LEG_DEPTH
        if excess > allowed and not any(map(_ESCAPED_BRACKET.search, values)):
            # Ids often end in "[0, 4]".
            ids = "".join([t.document_id for t in self.transactions])
            excess -= ids.count("[") + ids.count("{")
        return excess <= allowed or (len(values) == 1 and not is_deep(values[0]))

    def _known_brackets(self) -> int:
        """Of messages, entries, transactions, and the legs that their actions use."""
        rows = len(self.transactions)
        legs = 2 * rows - self.legs0.count(_EMPTY_LEG) - self.legs1.count(_EMPTY_LEG)
        return self._brackets + rows + legs

    def rows(self, *, include_transactions: bool) -> list[pa.Array]:
        """The columns of `HISTORY_ROWS` (`SCORING_ROWS` without transactions), but `message`."""
        rows, legs0, legs1 = self.transactions, self.legs0, self.legs1
        columns: dict[str, Any] = {
            "action": [t.action for t in rows],
            "timestamp": whole_seconds([t.timestamp for t in rows]),
            "pool_id": [t.poolId for t in rows],
            # Adding zero turns -0.0 into 0.0, which a sum would otherwise show.
            "leg0_usd": np.array([leg.amountUSD for leg in legs0], dtype=np.float64) + 0.0,
            "leg0_symbol": [leg.symbol for leg in legs0],
            "leg1_usd": np.array([leg.amountUSD for leg in legs1], dtype=np.float64) + 0.0,
            "leg1_symbol": [leg.symbol for leg in legs1],
        }
        if include_transactions:
            columns |= {
                "document_id": [t.document_id for t in rows],
                "protocol": [t.protocol for t in rows],
                "pool_name": [t.poolName for t in rows],
                "caller": [t.caller for t in rows],
                "chain_id": _chains(rows, np.repeat(self.chains, self.counts)),
                "leg0_amount": _amounts(legs0),
                "leg0_address": [leg.address for leg in legs0],
                "leg1_amount": _amounts(legs1),
                "leg1_address": [leg.address for leg in legs1],
            }
        schema = schemas.HISTORY_ROWS if include_transactions else schemas.SCORING_ROWS
        return [pa.array(columns[f.name], type=f.type) for f in schema if f.name in columns]


class _Decoding:
    """What has been decoded of a batch so far, block by block."""

    def __init__(self, *, include_transactions: bool) -> None:
        self._include_transactions = include_transactions
        self._positions: list[int] = []
        self._wallets: list[str] = []
        self._counts: list[int] = []
        self._rows: list[list[pa.Array]] = []
        self._rejects: list[Reject] = []

    def add(self, positions: Sequence[int], values: Sequence[bytes | None]) -> None:
        """Decode the messages at these positions of the batch."""
        parsed = [None if value is None else parse_fast(value) for value in values]
        fast = [i for i, message in enumerate(parsed) if message is not None]
        if not self._add_usual(fast, positions, values, parsed):
            fast = [i for i in fast if self._add_usual([i], positions, values, parsed)]
        for i in sorted(set(range(len(values))).difference(fast)):
            self._parse_exactly(positions[i], values[i])

    def _add_usual(
        self,
        chosen: Sequence[int],
        positions: Sequence[int],
        values: Sequence[bytes | None],
        parsed: Sequence[Message | None],
    ) -> bool:
        """Take some of the messages as they were parsed, all or none; returns whether it did."""
        block = _Block([cast(Message, parsed[i]) for i in chosen])
        is_usual = block.is_usual([cast(bytes, values[i]) for i in chosen])
        if is_usual:
            self._keep([positions[i] for i in chosen], block)
        return is_usual

    def _parse_exactly(self, position: int, value: bytes | None) -> None:
        try:
            self._keep([position], _Block([parse_exact(value)]))
        except BadMessage as bad:
            self._rejects.append(
                Reject(position, bad.code, str(bad), bad.wallet_address, bad.transaction_count)
            )

    def _keep(self, positions: Sequence[int], block: _Block) -> None:
        for position, wallet, count in zip(positions, block.wallets, block.counts, strict=True):
            if count == 0:
                self._rejects.append(Reject(position, ABSENT, NO_TRANSACTIONS, wallet, 0))
            else:
                self._positions.append(position)
                self._wallets.append(wallet)
                self._counts.append(count)
        if block.transactions:
            self._rows.append(block.rows(include_transactions=self._include_transactions))

    def result(self) -> Decoded:
        """What has been decoded."""
        counts = np.array(self._counts, dtype=np.int64)
        message = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
        schema = schemas.HISTORY_ROWS if self._include_transactions else schemas.SCORING_ROWS
        blocks = self._rows or [_Block([]).rows(include_transactions=self._include_transactions)]
        columns = [pa.concat_arrays(parts) for parts in zip(*blocks, strict=True)]
        return Decoded(
            np.array(self._positions, dtype=np.int64),
            self._wallets,
            counts,
            pa.Table.from_arrays([pa.array(message), *columns], schema=schema),
            self._rejects,
        )


def whole_seconds(timestamps: list[int]) -> npt.NDArray[np.int64]:
    """Unix seconds; what is too large to be seconds is milliseconds, floored."""
    values = np.array(timestamps, dtype=np.int64)
    return np.where(values > MAX_SECONDS, values // 1000, values)


def _chains(rows: Sequence[Transaction], defaults: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    given = pa.array([t.chainId for t in rows], type=pa.int64())
    return np.asarray(pc.coalesce(given, pa.array(defaults, type=pa.int64())))


def _amounts(legs: Sequence[Leg]) -> pa.Array:
    """Amounts as decimal text, without the quotes of those that came as JSON strings."""
    texts = pa.array([bytes(leg.amount).strip(b'"') or None for leg in legs], type=pa.binary())
    return texts.cast(pa.string())


def history_of(decoded: Decoded) -> pa.Table:
    """The decoded rows with the columns of `TRANSACTION`, and `message` before them.

    A leg that the action does not use is null; a used leg that was absent or null is an empty one.
    """
    rows = with_values(decoded.rows)
    legs = nested_legs(rows)
    fields = [rows.schema.field("message"), *schemas.TRANSACTION]
    columns = [legs[f.name] if f.name in legs else rows[f.name] for f in fields]
    return pa.Table.from_arrays(columns, schema=pa.schema(fields))
