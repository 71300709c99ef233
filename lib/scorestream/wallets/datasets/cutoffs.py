"""The history of wallets -> examples: what the core says at a cutoff, and what it says later.

Features, labels and the baseline's column all come out of the scoring function, at three moments:
the cutoff, a horizon before it, and a horizon after it. So a feature cannot know what came after
the cutoff, and has the value that the stream would have published at that moment.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from scorestream.wallets.core.history import WalletHistory, fixed_moments, score_moments
from scorestream.wallets.core.pipeline import Scored
from scorestream.wallets.core.scoring import Scoring
from scorestream.wallets.predictors.apply import MODEL_COLUMNS, MODEL_SCHEMA, build_model_input

Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

# What is left when less than this share was withdrawn is liquidity, not the dust of a price move.
WITHDRAWN: Final = 0.95
BEHAVIOUR: Final = "behaviour"
_LABELS: Final = ("active_before", "holds_liquidity", "active_later", "holds_later", "retained")

EXAMPLES: Final = pa.schema(
    [
        ("wallet_key", pa.string()),
        ("wallet_address", pa.string()),
        ("as_of", pa.int64()),
        *MODEL_SCHEMA,
        *((name, pa.bool_()) for name in _LABELS),
        (BEHAVIOUR, pa.string()),
    ]
)


@dataclass(frozen=True)
class Cutoffs:
    """The moments at which wallets are looked at.

    Attributes:
        moments: unix seconds, ascending.
        horizon: seconds that labels look ahead; None: no labels.
    """

    moments: Sequence[int]
    horizon: int | None

    @property
    def scored(self) -> list[int]:
        """All moments that are scored, ascending."""
        if self.horizon is None:
            return list(self.moments)
        steps = (-self.horizon, 0, self.horizon)
        return sorted({moment + step for moment in self.moments for step in steps})


@dataclass(frozen=True)
class _Course:
    """What each wallet was at each scored moment: arrays of wallets x moments, flat.

    Attributes:
        known: False where the core rejected the wallet.
        count: transactions, 0 before the first.
        holds: whether it provided liquidity.
    """

    known: Flags
    count: Ints
    holds: Flags


def build_examples(history: WalletHistory, cutoffs: Cutoffs, scoring: Scoring) -> pa.Table:
    """Examples of all wallets at all cutoffs.

    A wallet without a transaction by a cutoff gives none there, nor does one that the core rejects
    at a moment that counts.

    Args:
        history: of whole wallets; a column `behaviour`, where it has one, is carried on.
        cutoffs: when to look.
        scoring: what scores them.

    Returns:
        Rows of `EXAMPLES`. With a horizon h, `active_before`: a transaction in (cutoff - h,
        cutoff]; `active_later`: one in (cutoff, cutoff + h]; `holds_liquidity`, `holds_later`: less
        than 95 % of what was deposited was withdrawn by the cutoff, by cutoff + h; `retained`:
        active later and, if it held liquidity, still holding it. Without a horizon only
        `holds_liquidity` is not null.
    """
    moments = fixed_moments(history, np.array(cutoffs.scored))
    found = list(score_moments(history, moments, (scoring,)))
    if not found:
        return EXAMPLES.empty_table()
    scores = pa.concat_tables([scored.scores for scored in found])
    course = _course(found, scores, len(moments))
    chosen = _examples(np.asarray(scores["position"]), cutoffs, course)
    scores = scores.take(pa.array(chosen))
    columns = {
        **{name: scores[name] for name in ("wallet_key", "wallet_address", "as_of")},
        **dict(zip(MODEL_COLUMNS, build_model_input(scores).columns, strict=True)),
        **_labels(np.asarray(scores["position"]), cutoffs, course),
        BEHAVIOUR: _behaviours(history, moments.wallet[np.asarray(scores["position"])]),
    }
    return pa.table([columns[name] for name in EXAMPLES.names], schema=EXAMPLES)


def _course(found: Sequence[Scored], scores: pa.Table, moments: int) -> _Course:
    position = np.asarray(scores["position"])
    features = scores["features"].combine_chunks()
    known = np.ones(moments, np.bool_)
    for scored in found:
        known[np.asarray(scored.rejects["position"])] = False
    count, holds = np.zeros(moments, np.int64), np.zeros(moments, np.bool_)
    count[position] = np.asarray(scores["transaction_count"])
    deposited = np.asarray(features.field("total_deposit_usd"))
    withdrawn = np.asarray(features.field("withdraw_ratio"))
    holds[position] = (deposited > 0) & (withdrawn < WITHDRAWN)
    return _Course(known, count, holds)


def _examples(position: Ints, cutoffs: Cutoffs, course: _Course) -> Ints:
    """Which scores are examples, by wallet and time."""
    times = np.array(cutoffs.scored)
    is_cutoff = np.isin(times[position % len(times)], cutoffs.moments)
    before, later = _neighbours(position, cutoffs)
    # A score that is no cutoff may have no neighbour.
    order = np.argsort(position, kind="stable")
    wanted = order[is_cutoff[order]]
    known = course.known[before[wanted]] & course.known[later[wanted]]
    return np.asarray(wanted[known])


def _neighbours(position: Ints, cutoffs: Cutoffs) -> tuple[Ints, Ints]:
    """Places in the course a horizon before and after; where there is none, the place itself."""
    times = cutoffs.scored
    places = {time: place for place, time in enumerate(times)}
    step = cutoffs.horizon or 0
    back = np.array([places.get(t - step, p) - p for p, t in enumerate(times)])
    ahead = np.array([places.get(t + step, p) - p for p, t in enumerate(times)])
    own = position % len(times)
    return position + back[own], position + ahead[own]


def _labels(position: Ints, cutoffs: Cutoffs, course: _Course) -> dict[str, pa.Array]:
    before, later = _neighbours(position, cutoffs)
    holds, holds_later = course.holds[position], course.holds[later]
    active_later = course.count[later] > course.count[position]
    found = {
        "active_before": course.count[position] > course.count[before],
        "holds_liquidity": holds,
        "active_later": active_later,
        "holds_later": holds_later,
        "retained": active_later & (holds_later | ~holds),
    }
    unknown = cutoffs.horizon is None
    return {
        name: pa.nulls(len(position), pa.bool_())
        if unknown and name != "holds_liquidity"
        else pa.array(values)
        for name, values in found.items()
    }


def _behaviours(history: WalletHistory, wallet: Ints) -> pa.Array:
    if BEHAVIOUR not in history.rows.column_names:
        return pa.nulls(len(wallet), pa.string())
    firsts = pa.array(history.bounds[:-1][wallet])
    return history.rows[BEHAVIOUR].take(firsts).combine_chunks()
