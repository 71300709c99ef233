"""bytes -> transactions: message values into one columnar, exploded table, and rejects."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from scorestream.core import schemas
from scorestream.core.messages import (
    DEXES,
    LEGS_OF_ACTION,
    MAX_SECONDS,
    BadMessage,
    Leg,
    Message,
    Transaction,
    parse_exact,
    parse_fast,
)

NO_TRANSACTIONS: Final = "No valid transactions found"
DEFAULT_CHAIN: Final = 1
_EMPTY_LEG: Final = Leg()
_NO_LEGS: Final = ("", "")


@dataclass(frozen=True)
class Reject:
    """Why a message of the batch could not be scored.

    Attributes:
        position: row of the message in its batch.
        wallet_address: what could be read of it, else None.
    """

    position: int
    code: str
    error: str
    wallet_address: str | None
    transaction_count: int


@dataclass(frozen=True)
class Decoded:
    """A decoded batch.

    Attributes:
        positions: int64[n], the row in the batch of each of the n accepted messages, ascending.
        wallets: the n wallet addresses, as given.
        rows: exploded transactions; `message` counts accepted messages from 0, ascending, and
            every accepted message has at least one row.
        rejects: one for each message that is not accepted, in the batch's order.
    """

    positions: npt.NDArray[np.int64]
    wallets: list[str]
    rows: pa.Table
    rejects: list[Reject]


@dataclass
class _Accepted:
    """What is gathered from accepted messages, message by message."""

    positions: list[int] = field(default_factory=list)
    wallets: list[str] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    chains: list[int] = field(default_factory=list)
    transactions: list[Transaction] = field(default_factory=list)

    def add(self, position: int, message: Message) -> None:
        before = len(self.transactions)
        for entry in message.data:
            if entry.protocolType == DEXES:
                self.transactions.extend(entry.transactions)
        count = len(self.transactions) - before
        if count == 0:
            raise BadMessage("no_transactions", NO_TRANSACTIONS, message.wallet_address)
        self.positions.append(position)
        self.wallets.append(message.wallet_address)
        self.counts.append(count)
        self.chains.append(DEFAULT_CHAIN if message.chainId is None else message.chainId)


def decode(values: Iterable[bytes | None], history: bool = True) -> Decoded:
    """Decode message values into transactions.

    Args:
        values: raw message values, None for a record without one.
        history: whether the columns that only the history table needs are built too.

    Returns:
        Every message once: as rows of `HISTORY_ROWS` (`SCORING_ROWS` without history), or as a
        reject. A bad message changes nothing for its neighbours.
    """
    accepted, rejects = _Accepted(), []
    for position, value in enumerate(values):
        try:
            fast = None if value is None else parse_fast(value)
            accepted.add(position, fast if fast is not None else parse_exact(value))
        except BadMessage as bad:
            rejects.append(
                Reject(position, bad.code, str(bad), bad.wallet_address, bad.transaction_count)
            )
    return Decoded(
        np.array(accepted.positions, dtype=np.int64),
        accepted.wallets,
        _rows(accepted, history),
        rejects,
    )


def _rows(accepted: _Accepted, history: bool) -> pa.Table:
    rows = accepted.transactions
    legs0, legs1 = _legs(rows)
    columns: dict[str, Any] = {
        "message": np.repeat(np.arange(len(accepted.counts), dtype=np.int32), accepted.counts),
        "action": [t.action for t in rows],
        "timestamp": _seconds([t.timestamp for t in rows]),
        "pool_id": [t.poolId for t in rows],
        # Adding zero turns -0.0 into 0.0, which a sum would otherwise show.
        "leg0_usd": np.array([leg.amountUSD for leg in legs0], dtype=np.float64) + 0.0,
        "leg0_symbol": [leg.symbol for leg in legs0],
        "leg1_usd": np.array([leg.amountUSD for leg in legs1], dtype=np.float64) + 0.0,
        "leg1_symbol": [leg.symbol for leg in legs1],
    }
    if not history:
        return _table(columns, schemas.SCORING_ROWS)
    columns |= {
        "document_id": [t.document_id for t in rows],
        "protocol": [t.protocol for t in rows],
        "pool_name": [t.poolName for t in rows],
        "caller": [t.caller for t in rows],
        "chain_id": _chains(rows, np.repeat(accepted.chains, accepted.counts)),
        "leg0_amount": _amounts(legs0),
        "leg0_address": [leg.address for leg in legs0],
        "leg1_amount": _amounts(legs1),
        "leg1_address": [leg.address for leg in legs1],
    }
    return _table(columns, schemas.HISTORY_ROWS)


def _table(columns: dict[str, Any], schema: pa.Schema) -> pa.Table:
    return pa.Table.from_arrays(
        [pa.array(columns[f.name], type=f.type) for f in schema], schema=schema
    )


def _legs(rows: Sequence[Transaction]) -> tuple[list[Leg], list[Leg]]:
    """The two legs that each row's action uses; empty legs where it uses none."""
    first, second = [], []
    for row in rows:
        name0, name1 = LEGS_OF_ACTION.get(row.action, _NO_LEGS)
        first.append((getattr(row, name0) if name0 else None) or _EMPTY_LEG)
        second.append((getattr(row, name1) if name1 else None) or _EMPTY_LEG)
    return first, second


def _seconds(timestamps: list[int]) -> npt.NDArray[np.int64]:
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


def history_of(rows: pa.Table, usd_value: pa.Array) -> pa.StructArray:
    """Rows of `HISTORY_ROWS` as `TRANSACTION` structs, for the `transactions` table.

    A leg that the action does not use is null; a used leg that was absent or null is an empty one.
    """
    is_swap = np.asarray(pc.equal(rows["action"], "swap"))
    is_lp = np.asarray(pc.is_in(rows["action"], value_set=pa.array(["deposit", "withdraw"])))
    made = {
        "usd_value": usd_value,
        "token0": _leg_column(rows, 0, is_lp),
        "token1": _leg_column(rows, 1, is_lp),
        "token_in": _leg_column(rows, 0, is_swap),
        "token_out": _leg_column(rows, 1, is_swap),
    }
    arrays = [
        made[f.name] if f.name in made else _column(rows, f.name) for f in schemas.TRANSACTION
    ]
    return pa.StructArray.from_arrays(arrays, fields=list(schemas.TRANSACTION))


def _leg_column(rows: pa.Table, leg: int, used: npt.NDArray[np.bool_]) -> pa.StructArray:
    names = [f"leg{leg}_{name}" for name in ("amount", "usd", "address", "symbol")]
    return pa.StructArray.from_arrays(
        [_column(rows, name) for name in names], fields=list(schemas.LEG), mask=pa.array(~used)
    )


def _column(rows: pa.Table, name: str) -> pa.Array:
    return rows[name].combine_chunks()
