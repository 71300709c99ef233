"""The one scoring function: message values and their moments in, scores and rejects out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from scorestream.wallets.core import schemas
from scorestream.wallets.core.actions import with_values
from scorestream.wallets.core.decode import (
    Decoded,
    Reject,
    decode,
    history_of,
)
from scorestream.wallets.core.score_columns import score_columns, scored_schema
from scorestream.wallets.core.scoring import Scoring
from scorestream.wallets.core.wallet_keys import wallet_keys

NON_FINITE: Final = "a feature or score is not finite: amounts near the limit of a 64-bit float"


@dataclass(frozen=True)
class Scored:
    """A scored batch: each message is one row of `scores`, or one of `rejects`.

    Attributes:
        scores: rows of `scored_schema` of the scoring.
        rejects: rows of `REJECTED`.
        transactions: rows of `HISTORY`, those of a scored message together; None if they were not
            asked for.
    """

    scores: pa.Table
    rejects: pa.Table
    transactions: pa.Table | None

    @classmethod
    def without_scores(
        cls, scoring: Scoring, rejects: pa.Table, transactions: pa.Table | None
    ) -> Scored:
        """A batch of which no message has a score."""
        return cls(scored_schema(scoring.declaration).empty_table(), rejects, transactions)


def score_messages(
    values: Sequence[bytes | None],
    as_of: npt.NDArray[np.int64],
    scoring: Scoring,
    *,
    include_transactions: bool = True,
    refused: Sequence[Reject] = (),
) -> Scored:
    """Score a batch of messages: decode them, then :func:`score_decoded`.

    Args:
        values: raw message values, None for a record without one.
        as_of: int64, unix seconds of each message.
        scoring: what scores them.
        include_transactions: whether the exploded transactions are returned too.
        refused: rejects of messages that are not looked at.

    Returns:
        Tables whose `position` is the row of the message in `values`; rows are in no order.
    """
    decoded = decode(values, include_transactions=include_transactions, refused=refused)
    return score_decoded(decoded, as_of, scoring, include_transactions=include_transactions)


def score_decoded(
    decoded: Decoded,
    as_of: npt.NDArray[np.int64],
    scoring: Scoring,
    *,
    include_transactions: bool,
) -> Scored:
    """Score decoded messages.

    1. Score: transactions -> features -> scores, all wallets at once.
    2. Reject the wallets whose result is not finite.

    Args:
        decoded: transactions of the messages: `HISTORY_ROWS` if they are returned. Values that
            they have already are not computed again.
        as_of: int64, unix seconds of each message, accepted or not.
        scoring: what scores them.
        include_transactions: whether the exploded transactions are returned too.
    """
    # 1. Score: transactions -> features -> scores, all wallets at once.
    decoded = replace(decoded, rows=with_values(decoded.rows))
    scores = scoring.score(decoded.rows, as_of[decoded.positions])
    # 2. Reject the wallets whose result is not finite.
    columns, finite = score_columns(scoring.declaration, scores)
    rejects = decoded.rejects + _non_finite(decoded, ~finite)
    transactions = history_rows(decoded, as_of, finite) if include_transactions else None
    scored = pa.Table.from_arrays(
        [*_message_columns(decoded, as_of), *columns], schema=scored_schema(scoring.declaration)
    )
    return Scored(
        scored.filter(pa.array(finite)),
        reject_rows(rejects, as_of),
        transactions,
    )


def _non_finite(decoded: Decoded, failed: npt.NDArray[np.bool_]) -> list[Reject]:
    return [
        Reject(
            int(decoded.positions[i]),
            "non_finite_result",
            NON_FINITE,
            decoded.wallets[i],
            int(decoded.counts[i]),
        )
        for i in np.flatnonzero(failed)
    ]


def _message_columns(decoded: Decoded, as_of: npt.NDArray[np.int64]) -> list[pa.Array]:
    """The columns of `SCORED_MESSAGE`."""
    wallets = pa.array(decoded.wallets, pa.string())
    return [
        pa.array(decoded.positions),
        wallets,
        pa.array(as_of[decoded.positions]),
        wallet_keys(wallets),
        pa.array(decoded.counts),
        *_first_and_last(decoded),
    ]


def _first_and_last(decoded: Decoded) -> list[pa.Array]:
    """When each wallet's first and last transactions were, as `TRANSACTION_TIMES`."""
    seconds = np.asarray(decoded.rows["timestamp"])
    starts = np.cumsum(decoded.counts) - decoded.counts
    found = [extreme.reduceat(seconds, starts) for extreme in (np.minimum, np.maximum)]
    return [pa.array(each * 1_000_000).cast(schemas.UTC_TIMESTAMP) for each in found]


def reject_rows(rejects: list[Reject], as_of: npt.NDArray[np.int64]) -> pa.Table:
    """Rejects as rows of `REJECTED`; `as_of` of every message of the batch."""
    positions = np.array([r.position for r in rejects], dtype=np.int64)
    columns = [
        positions,
        [r.wallet_address for r in rejects],
        as_of[positions],
        [r.transaction_count for r in rejects],
        [r.code for r in rejects],
        [r.error for r in rejects],
    ]
    return pa.Table.from_arrays(
        [pa.array(c, f.type) for c, f in zip(columns, schemas.REJECTED, strict=True)],
        schema=schemas.REJECTED,
    )


def history_rows(
    decoded: Decoded,
    as_of: npt.NDArray[np.int64],
    chosen: npt.NDArray[np.bool_] | None = None,
) -> pa.Table:
    """Rows of `HISTORY`: the transactions of the decoded messages.

    Args:
        decoded: `HISTORY_ROWS` of the messages.
        as_of: int64, unix seconds of each message, accepted or not.
        chosen: bool, of each accepted message whether its transactions are wanted; None: of all.
    """
    history = history_of(decoded)
    message = np.asarray(history["message"])
    positions = decoded.positions[message]
    wallets = pa.array(decoded.wallets, pa.string())
    of_row = history["message"].combine_chunks()
    columns = [
        pa.array(positions),
        wallets.take(of_row),
        pa.array(as_of[positions]),
        wallet_keys(wallets).take(of_row),
        *history.columns[1:],
    ]
    table = pa.Table.from_arrays(columns, schema=schemas.HISTORY)
    if chosen is None or chosen.all():
        return table
    return table.filter(pa.array(chosen[message]))
