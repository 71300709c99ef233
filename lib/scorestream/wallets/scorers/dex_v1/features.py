"""transactions -> features: the feature table of ``dex-v1``, for all wallets of a batch at once.

No Python loop a transaction: rows are grouped by `message`, and each feature is a segmented
numpy or Arrow operation. Sums of money are correctly rounded (``math.fsum``), so that the order
of a wallet's rows changes no digit. Formulas: docs/scoring.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from scorestream.wallets.core.actions import is_action
from scorestream.wallets.scorers.dex_v1.config import ActivityPoints, TokenPoints

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

DAY_SECONDS: Final = 86_400
HOUR_SECONDS: Final = 3_600
DENSE: Final = 64


@dataclass(frozen=True)
class _Rows:
    """Rows of one kind of action: their wallet (0..wallets-1, ascending), time, value, pool.

    Pools are codes from 0 to before `pools`; -1 for a row without one.
    """

    wallet: Ints
    timestamp: Ints
    usd: Floats
    pool: Ints
    wallets: int
    pools: int

    def count(self) -> Ints:
        return np.bincount(self.wallet, minlength=self.wallets)


def wallet_features(
    rows: pa.Table,
    as_of: Ints,
    *,
    stable_symbols: frozenset[str],
    tokens: TokenPoints,
    activity: ActivityPoints,
) -> dict[str, Floats | Ints]:
    """The features of every wallet of a batch.

    Args:
        rows: flat transactions (`MODEL_ROWS` or more), `message` ascending from 0 and
            every wallet with at least one row.
        as_of: int64[n], unix seconds, at which each wallet is scored.
        stable_symbols: symbols of stable coins.
        tokens: points of the token diversity.
        activity: points of the swap frequency.

    Returns:
        n numbers by name. Amounts near the float limit give infinities or NaN here; the caller
        rejects those wallets.
    """
    deposit, withdraw, swap = (is_action(rows, name) for name in ("deposit", "withdraw", "swap"))
    every = _every(rows, len(as_of))
    deposits, withdraws, swaps = (_filter(every, flag) for flag in (deposit, withdraw, swap))
    deposit_usd, withdraw_usd = _sums(deposits), _sums(withdraws)
    volume = _sums(swaps)
    return {
        "total_deposit_usd": deposit_usd,
        "total_withdraw_usd": withdraw_usd,
        "num_deposits": deposits.count(),
        "num_withdraws": withdraws.count(),
        "withdraw_ratio": _ratio(withdraw_usd, deposit_usd),
        "avg_hold_time_days": _mean_hold_days(deposits, withdraws, as_of),
        "account_age_days": _spans(every) / DAY_SECONDS,
        "unique_pools": _distinct_pools(every),
        "total_swap_volume": volume,
        "num_swaps": swaps.count(),
        "unique_pools_swapped": _distinct_pools(swaps),
        "avg_swap_size": _ratio(volume, swaps.count()),
        "token_diversity_score": _token_points(
            rows, swap, len(as_of), stable_symbols=stable_symbols, points=tokens
        ),
        "swap_frequency_score": _activity_points(swaps, activity),
    }


def _every(rows: pa.Table, wallets: int) -> _Rows:
    wallet = np.asarray(rows["message"]).astype(np.int64)
    usd = np.asarray(rows["usd_value"].fill_null(0.0))
    pool, names = _codes(rows["pool_id"])
    return _Rows(wallet, np.asarray(rows["timestamp"]), usd, pool, wallets, len(names))


def _filter(rows: _Rows, flags: Flags) -> _Rows:
    return _Rows(
        rows.wallet[flags],
        rows.timestamp[flags],
        rows.usd[flags],
        rows.pool[flags],
        rows.wallets,
        rows.pools,
    )


def _sums(rows: _Rows) -> Floats:
    """Correctly rounded sums of USD a wallet; infinite where they pass the float limit."""
    usd = rows.usd.tolist()
    ends = np.concatenate([[0], np.cumsum(rows.count())]).tolist()
    return np.array([_exact_sum(usd[a:b]) for a, b in pairwise(ends)], dtype=np.float64)


def _exact_sum(values: list[float]) -> float:
    try:
        return math.fsum(values)
    except OverflowError:
        return math.inf


def _ratio(part: Floats, whole: Floats | Ints) -> Floats:
    """Part / whole, 0 where whole is 0."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.divide(part, whole, out=np.zeros(len(part)), where=np.asarray(whole) != 0)


def _mean_hold_days(deposits: _Rows, withdraws: _Rows, as_of: Ints) -> Floats:
    """Mean days from each deposit to the wallet's first strictly later withdraw, else to as_of."""
    order = np.lexsort((withdraws.timestamp, withdraws.wallet))
    exits, owners = withdraws.timestamp[order], withdraws.wallet[order]
    next_exit = _first_later(deposits, exits, owners)
    found = next_exit < len(exits)
    found[found] = owners[next_exit[found]] == deposits.wallet[found]
    end = as_of[deposits.wallet]
    end[found] = exits[next_exit[found]]
    held = _integer_sums(end - deposits.timestamp, deposits)
    # Whole seconds are summed exactly and divided once: one rounding in all.
    return _ratio(held.astype(np.float64), deposits.count() * DAY_SECONDS)


def _first_later(deposits: _Rows, exits: Ints, owners: Ints) -> Ints:
    """Index of the first (owner, exit) that comes after each deposit's (wallet, timestamp)."""
    times = np.concatenate([deposits.timestamp, exits])
    if times.size == 0:
        return np.zeros(0, dtype=np.int64)
    start, width = times.min(), times.max() - times.min() + 1
    keys = deposits.wallet * width + (deposits.timestamp - start)
    first: Ints = np.searchsorted(owners * width + (exits - start), keys, side="right")
    return first


def _integer_sums(values: Ints, rows: _Rows) -> Ints:
    totals = np.concatenate([[0], np.cumsum(values)])
    ends = np.cumsum(rows.count())
    sums: Ints = totals[ends] - totals[ends - rows.count()]
    return sums


def _spans(rows: _Rows) -> Ints:
    """Seconds between the first and the last row of each wallet; 0 for a wallet without rows."""
    counts = rows.count()
    spans = np.zeros(rows.wallets, dtype=np.int64)
    present = counts > 0
    if present.any():
        starts = (np.cumsum(counts) - counts)[present]
        latest = np.maximum.reduceat(rows.timestamp, starts)
        spans[present] = latest - np.minimum.reduceat(rows.timestamp, starts)
    return spans


def _codes(*columns: pa.ChunkedArray) -> tuple[Ints, pa.Array]:
    """The rows of columns, one after the other, as codes of names; -1 for null, which is none."""
    chunks = [chunk for column in columns for chunk in column.chunks]
    whole = pa.chunked_array(chunks, columns[0].type).combine_chunks()
    encoded = whole.dictionary_encode()
    codes = np.asarray(encoded.indices.fill_null(-1)).astype(np.int64)
    return codes, encoded.dictionary


def _distinct_pools(rows: _Rows) -> Ints:
    """Number of distinct pools a wallet."""
    owners, _ = _distinct_pairs(rows.wallet, rows.pool, rows.wallets, rows.pools)
    return np.bincount(owners, minlength=rows.wallets)


def _distinct_pairs(wallet: Ints, codes: Ints, wallets: int, names: int) -> tuple[Ints, Ints]:
    """The distinct (wallet, code) pairs, rows without a code left out."""
    known = codes >= 0
    width = max(names, 1)
    pairs = _distinct_integers(wallet[known] * width + codes[known], wallets * width)
    return pairs // width, pairs % width


def _distinct_integers(values: Ints, limit: int) -> Ints:
    """The distinct ones of integers from 0 up to before `limit`."""
    # Flags for all that could be cost less than a hash table, unless few of them are.
    if limit > DENSE * len(values):
        return np.asarray(pc.unique(pa.array(values)))
    seen = np.zeros(limit, dtype=np.bool_)
    seen[values] = True
    return np.flatnonzero(seen)


def _token_points(
    rows: pa.Table,
    swap: Flags,
    wallets: int,
    *,
    stable_symbols: frozenset[str],
    points: TokenPoints,
) -> Floats:
    """Points for the distinct symbols on both legs of all swaps."""
    codes, names = _codes(rows["leg0_symbol"], rows["leg1_symbol"])
    wallet = np.asarray(rows["message"]).astype(np.int64)[swap]
    owners, distinct = _distinct_pairs(
        np.concatenate([wallet, wallet]), codes[np.concatenate([swap, swap])], wallets, len(names)
    )
    known = pa.array(sorted(stable_symbols), pa.string())
    stable = np.asarray(pc.is_in(names, value_set=known))
    weights = np.where(stable, points.stable, points.volatile)[distinct]
    return np.minimum(np.bincount(owners, weights, minlength=wallets), points.limit)


def _activity_points(swaps: _Rows, points: ActivityPoints) -> Floats:
    """Points for the mean gap between a wallet's swaps; 0 with fewer than two swaps."""
    counts = swaps.count()
    # The gaps between time-ordered swaps add up to the span, whatever lies between.
    mean_gap = _ratio(_spans(swaps).astype(np.float64), counts - 1) / HOUR_SECONDS
    steps = [mean_gap <= step.hours for step in points.steps]
    scores = np.select(steps, [step.points for step in points.steps], points.slower)
    return np.where(counts < 2, 0.0, scores)
