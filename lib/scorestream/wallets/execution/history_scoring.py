"""New messages scored over the history of their wallets."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from scorestream.infra.spark.heartbeat import reporting_progress
from scorestream.wallets.core import schemas
from scorestream.wallets.core.decode import Decoded, Reject
from scorestream.wallets.core.history import WalletHistory, message_moments, score_moments
from scorestream.wallets.core.pipeline import Scored
from scorestream.wallets.core.scoring import Scorings

Ints = npt.NDArray[np.int64]
NOTHING_YET: Final = (
    "nothing_yet",
    "all transactions of the wallet lie after the moment of the message",
)
# Marks the rows that were stored before.
STORED: Final = -1


def score_new_messages(
    history: WalletHistory, decoded: Decoded, scorings: Scorings
) -> tuple[pa.Table, list[Reject]]:
    """Scores of the new messages, and the rejects of those that have none at their moment.

    All of them stay in the history: whether a message has a score goes by what else is known by
    then, and so by the order in which messages arrive, which must change no later score.
    """
    position = _message_positions(history)
    new = np.flatnonzero(position != STORED)
    moments = message_moments(history).take(new)
    empty = Scored.without_scores(scorings, schemas.REJECTED.empty_table(), None)
    results = [empty, *reporting_progress(score_moments(history, moments, scorings))]
    scores = pa.concat_tables([_of_messages(result.scores, position[new]) for result in results])
    failed = pa.concat_tables([_of_messages(result.rejects, position[new]) for result in results])
    answered = [np.asarray(rows["position"]) for rows in (scores, failed)]
    nothing_yet = np.setdiff1d(position[new], np.concatenate(answered))
    return scores, _rejects(decoded, failed, nothing_yet)


def _message_positions(history: WalletHistory) -> Ints:
    """The position of each message of the history; `STORED` for those that are not new."""
    if not history.rows.num_rows:
        return np.zeros(0, dtype=np.int64)
    # A repetition may find rows of a message stored already.
    rows = np.asarray(history.rows["position"])
    positions: Ints = np.maximum.reduceat(rows, history.message_bounds[:-1])
    return positions


def _of_messages(rows: pa.Table, positions: Ints) -> pa.Table:
    """Results of moments, by the position of their message."""
    return rows.set_column(0, "position", pa.array(positions[np.asarray(rows["position"])]))


def _rejects(decoded: Decoded, failed: pa.Table, nothing_yet: Ints) -> list[Reject]:
    """Rejects of messages: those that failed at their moment, and those without a row by then."""
    reasons = [
        (row["position"], row["error_code"], row["error"], row["scoring"])
        for row in failed.to_pylist()
    ]
    reasons += [(at, *NOTHING_YET, None) for at in nothing_yet.tolist()]
    message = {at: i for i, at in enumerate(decoded.positions.tolist())}
    return [
        Reject(
            at,
            code,
            error,
            decoded.wallets[i := message[at]],
            int(decoded.counts[i]),
            scoring=scoring,
        )
        for at, code, error, scoring in reasons
    ]


def late_and_corrected(history: WalletHistory) -> tuple[int, int]:
    """How many new transactions came late, and how many came again with another content.

    Late is what an earlier message of the wallet, with a score or without, should have counted.
    """
    rows, new = history.rows, np.asarray(history.rows["position"]) != STORED
    stored = np.flatnonzero(~new)
    latest = np.full(history.wallet.max(initial=0) + 1, np.iinfo(np.int64).min)
    np.maximum.at(latest, history.wallet[stored], np.asarray(rows["as_of"])[stored])
    last = np.full(history.document.max(initial=0) + 1, STORED)
    np.maximum.at(last, history.document[stored], stored)
    before = last[history.document]
    is_late = np.asarray(rows["timestamp"]) <= latest[history.wallet]
    again = np.flatnonzero(new & (before != STORED))
    late = new & (before == STORED) & is_late
    return int(late.sum()), _differing(rows, again, before[again])


def _differing(rows: pa.Table, some: Ints, others: Ints) -> int:
    """How many of some rows differ from others in what a score goes by."""
    differs = np.zeros(len(some), dtype=np.bool_)
    for name in schemas.SCORING_ROWS.names[1:]:
        a, b = rows[name].take(pa.array(some)), rows[name].take(pa.array(others))
        one_null = pc.xor(pc.is_null(a), pc.is_null(b))
        differs |= np.asarray(pc.coalesce(pc.not_equal(a, b), one_null))
    return int(differs.sum())
