"""The one scoring function: message values and their moments in, one scored row a message out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from scorestream.core import schemas
from scorestream.core.decode import Decoded, Reject, decode, history_of
from scorestream.core.features import usd_values

NON_FINITE: Final = "a feature or score is not finite: amounts near the limit of a 64-bit float"


class ScoringModel(Protocol):
    """What every scoring model offers."""

    @property
    def name(self) -> str:
        """The model's name, as scores carry it."""
        ...

    @property
    def config_hash(self) -> str:
        """Hash of all constants, as scores carry it."""
        ...

    def score(self, rows: pa.Table, as_of: npt.NDArray[np.int64]) -> pa.StructArray:
        """N structs of `SCORE` for the n wallets of `rows`; null where not finite."""
        ...


def score_messages(
    values: Sequence[bytes | None],
    as_of: npt.NDArray[np.int64],
    model: ScoringModel,
    history: bool = True,
) -> pa.Table:
    """Score a batch of messages.

    1. decode: bytes -> exploded transactions, or rejects
    2. score: transactions -> features -> scores, all wallets at once
    3. reject the wallets whose result is not finite
    4. put scores and rejects back into the order of the messages

    Args:
        values: raw message values, None for a record without one.
        as_of: int64, unix seconds of each message.
        model: the scoring model.
        history: whether the exploded transactions are returned too.

    Returns:
        One row of `SCORED` a message, in the order given: a score or a reject.
    """
    # 1.
    decoded = decode(values, history)
    # 2.
    scores = model.score(decoded.rows, as_of[decoded.positions])
    # 3.
    counts = np.bincount(np.asarray(decoded.rows["message"]), minlength=len(decoded.wallets))
    rejects = decoded.rejects + _non_finite(decoded, scores, counts)
    # 4.
    transactions = _transactions(decoded, counts) if history else None
    return _scored(decoded, scores, counts, rejects, transactions, as_of)


def _non_finite(
    decoded: Decoded, scores: pa.StructArray, counts: npt.NDArray[np.int64]
) -> list[Reject]:
    failed = np.flatnonzero(np.asarray(scores.is_null()))
    return [
        Reject(
            int(decoded.positions[i]),
            "non_finite_result",
            NON_FINITE,
            decoded.wallets[i],
            int(counts[i]),
        )
        for i in failed
    ]


def _transactions(decoded: Decoded, counts: npt.NDArray[np.int64]) -> pa.ListArray:
    offsets = pa.array(np.concatenate([[0], np.cumsum(counts)]), pa.int32())
    return pa.ListArray.from_arrays(offsets, history_of(decoded.rows, usd_values(decoded.rows)))


def _scored(
    decoded: Decoded,
    scores: pa.StructArray,
    counts: npt.NDArray[np.int64],
    rejects: list[Reject],
    transactions: pa.ListArray | None,
    as_of: npt.NDArray[np.int64],
) -> pa.Table:
    """Join accepted messages and rejects by position; a rejected message has no transactions."""
    size = len(as_of)
    accepted = np.full(size, -1)
    accepted[decoded.positions] = np.arange(len(decoded.positions))
    rejected = np.full(size, -1)
    rejected[[r.position for r in rejects]] = np.arange(len(rejects))
    accepted[rejected >= 0] = -1
    pick, refuse = _indices(accepted), _indices(rejected)
    columns = {
        "wallet_address": _either(
            pa.array(decoded.wallets, pa.string()).take(pick),
            pa.array([r.wallet_address for r in rejects], pa.string()).take(refuse),
        ),
        "as_of": pa.array(as_of),
        "transaction_count": _either(
            pa.array(counts, pa.int64()).take(pick),
            pa.array([r.transaction_count for r in rejects], pa.int64()).take(refuse),
        ),
        "score": scores.take(pick),
        "reject": _rejects(rejects).take(refuse),
        "transactions": (
            pa.nulls(size, schemas.SCORED.field("transactions").type)
            if transactions is None
            else transactions.take(pick)
        ),
    }
    return pa.table([columns[f.name] for f in schemas.SCORED], schema=schemas.SCORED)


def _indices(positions: npt.NDArray[np.int64]) -> pa.Array:
    return pa.array(positions, pa.int64(), mask=positions < 0)


def _either(first: pa.Array, second: pa.Array) -> pa.Array:
    return pc.coalesce(first, second)


def _rejects(rejects: list[Reject]) -> pa.StructArray:
    rows = [{"error_code": r.code, "error": r.error} for r in rejects]
    return pa.array(rows, schemas.REJECT)
