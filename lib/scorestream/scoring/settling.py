"""Messages scored over the history of their wallets; what cannot be is taken out of it again."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain, repeat
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from scorestream.core import schemas
from scorestream.core.decode import Decoded, Reject
from scorestream.core.history import WalletHistory, message_moments, score_moments
from scorestream.core.pipeline import NON_FINITE, Scored, ScoringModel

Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
NOTHING_YET: Final = (
    "nothing_yet",
    "all transactions of the wallet lie after the moment of the message",
)
# So many failures of a wallet in one batch are told apart one by one.
MOST_FAILURES: Final = 20
# Marks the rows that were stored before.
STORED: Final = -1
_SCORED, _NON_FINITE, _NOTHING_YET = range(3)


def settle(
    history: WalletHistory, decoded: Decoded, model: ScoringModel
) -> tuple[pa.Table, list[Reject]]:
    """Scores of the new messages, and the rejects of those that cannot be scored.

    The messages of a wallet are settled up to the first that cannot be scored; those behind it are
    scored once more, without it. A wallet that goes on failing has all at once rejected that fail,
    so that it cannot hold up the others for long.
    """
    position = _message_positions(history)
    moments = message_moments(history)
    pending = np.flatnonzero(position != STORED)
    ignored = np.zeros(history.rows.num_rows, dtype=np.bool_)
    scores, rejects = [schemas.SCORED.empty_table()], []
    for patience in chain(range(MOST_FAILURES, 0, -1), repeat(0)):
        if not len(pending):
            break
        results = list(score_moments(history, moments.take(pending), model, ignored))
        state = _states(results, len(pending))
        first = _first_failures(moments.wallet[pending], state)
        if patience:
            done = np.arange(len(pending)) <= first
        else:
            done = (first == len(pending)) | (state != _SCORED)
        scores += [_kept(result.scores, done, position[pending]) for result in results]
        failed = done & (state != _SCORED)
        reasons = zip(position[pending[failed]].tolist(), state[failed].tolist(), strict=True)
        rejects += [_reject(decoded, at, reason) for at, reason in reasons]
        ignored |= np.isin(history.message, pending[failed])
        pending = pending[~done]
    return pa.concat_tables(scores), rejects


def _message_positions(history: WalletHistory) -> Ints:
    """The position of each message of the history; `STORED` for those that are not new."""
    if not history.rows.num_rows:
        return np.zeros(0, dtype=np.int64)
    # A repetition may find rows of a message stored already.
    rows = np.asarray(history.rows["position"])
    positions: Ints = np.maximum.reduceat(rows, history.message_bounds[:-1])
    return positions


def _states(results: Iterable[Scored], moments: int) -> Ints:
    state = np.full(moments, _NOTHING_YET)
    for result in results:
        state[np.asarray(result.scores["position"])] = _SCORED
        state[np.asarray(result.rejects["position"])] = _NON_FINITE
    return state


def _first_failures(wallet: Ints, state: Ints) -> Ints:
    """For each moment the first of its wallet that failed; behind all where none did."""
    failed = np.flatnonzero(state != _SCORED)
    first = np.full(wallet.max() + 1, len(wallet))
    np.minimum.at(first, wallet[failed], failed)
    return first[wallet]


def _kept(scores: pa.Table, done: Flags, positions: Ints) -> pa.Table:
    """The scores that stand, by the position of their message."""
    scores = scores.filter(pa.array(done[np.asarray(scores["position"])]))
    return scores.set_column(0, "position", pa.array(positions[np.asarray(scores["position"])]))


def _reject(decoded: Decoded, position: int, state: int) -> Reject:
    [at] = np.flatnonzero(decoded.positions == position)
    reason = {_NON_FINITE: ("non_finite_result", NON_FINITE), _NOTHING_YET: NOTHING_YET}[state]
    return Reject(position, *reason, decoded.wallets[at], int(decoded.counts[at]))


def late_and_corrected(history: WalletHistory) -> tuple[int, int]:
    """How many new transactions came late, and how many came again with another content."""
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
