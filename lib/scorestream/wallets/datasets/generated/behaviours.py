"""Made-up histories of wallets whose behaviour is known: months of transactions from a seed.

The behaviours overlap on purpose: every wallet has a size and a zeal of its own, there are slow
bots, wash traders who mostly trade, and people who trade back and forth.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Columns = dict[str, npt.NDArray[Any]]

DAY_SECONDS: Final = 86_400
POOLS: Final = 240
# No wallet has more transactions than this: the newest are kept.
MAX_TRANSACTIONS: Final = 1_500
_MAX_SESSIONS: Final = 400
_MAX_BURST: Final = 60
_FAVOURITES: Final = 24
# The later a wallet starts, the less of it is seen: none starts in the last part.
_LATEST_START: Final = 0.85
_WASH_SECONDS: Final = 240
_PARTLY_WITHDRAWN: Final = 0.3

SWAP, DEPOSIT, WITHDRAW = range(3)
ACTIONS: Final = ("swap", "deposit", "withdraw")
# Rows of a history: `wallet` counts from 0, `action` is a place in `ACTIONS`; `back` says that the
# second token of the pool went in.
ROWS: Final = pa.schema(
    [
        ("wallet", pa.int64()),
        ("timestamp", pa.int64()),
        ("action", pa.int8()),
        ("pool", pa.int64()),
        ("usd", pa.float64()),
        ("back", pa.bool_()),
    ]
)


@dataclass(frozen=True)
class Behaviour:
    """How wallets of a kind behave; each of them differs from these medians and means.

    Attributes:
        share: of all wallets.
        sessions: a day while the wallet is active, median.
        lifetime: days from the first session to the last possible one, mean.
        latest_start: share of the time after which none starts.
        burst: further swaps in a session, mean.
        gap: seconds between the swaps of a session, mean.
        deposits: share of the sessions that provide liquidity.
        hold: days until it is withdrawn, median.
        swap_usd: size of a swap, median.
        deposit_usd: size of a deposit, median.
        spread: deviation of the logarithm of a wallet's sizes.
        pools: beside the first, mean.
        washed: share of the swaps that are traded back at once.
    """

    share: float
    sessions: float
    lifetime: float
    burst: float
    gap: float
    deposits: float
    hold: float
    swap_usd: float
    deposit_usd: float
    spread: float
    pools: float
    washed: float = 0.0
    latest_start: float = _LATEST_START


BEHAVIOURS: Final[Mapping[str, Behaviour]] = {
    "retail": Behaviour(0.46, 0.12, 120, 0.6, 1800, 0.08, 40, 250, 600, 1.0, 2.5, 0.01),
    "whale": Behaviour(0.06, 0.2, 200, 0.8, 3600, 0.15, 60, 25_000, 120_000, 1.0, 4.0, 0.01),
    "lp_farmer": Behaviour(0.16, 0.25, 160, 0.8, 1200, 0.45, 18, 1_500, 5_000, 0.9, 6.0),
    "bot": Behaviour(0.08, 1.2, 90, 4.0, 60, 0.005, 5, 400, 500, 0.5, 5.0, 0.03),
    "wash_trader": Behaviour(0.05, 0.35, 80, 2.0, 120, 0.02, 10, 900, 900, 0.5, 1.0, 0.55),
    "dormant": Behaviour(0.19, 0.3, 14, 0.5, 3600, 0.15, 400, 200, 400, 1.0, 1.5, latest_start=0.5),
}


@dataclass(frozen=True)
class Histories:
    """Transactions of wallets, and what the wallets are.

    Attributes:
        rows: `ROWS`, ordered by wallet and time; every wallet has one at least.
        behaviours: name of each wallet's behaviour.
    """

    rows: pa.Table
    behaviours: list[str]


@dataclass(frozen=True)
class _Wallets:
    """What each wallet is like: arrays of its length, times in days from the start."""

    behaviour: Ints
    start: Floats
    end: Floats
    zeal: Floats
    size: Floats
    wash: Floats
    pools: Ints
    favourites: Ints

    def of(self, name: str, owner: Ints) -> Floats:
        """A parameter of the behaviour of each owner."""
        values = np.array([getattr(b, name) for b in BEHAVIOURS.values()], np.float64)
        return np.asarray(values[self.behaviour[owner]])


def draw_histories(wallets: int, days: int, until: int, seed: int) -> Histories:
    """Draw histories; the same arguments give the same ones.

    1. Draw what each wallet is like.
    2. Draw its sessions.
    3. Draw swaps, traded back at times; deposits, and their withdrawals.

    Args:
        wallets: how many.
        days: time that the histories span.
        until: unix seconds of their end.
        seed: of all that is random.
    """
    random = np.random.default_rng(seed)
    # 1. Draw what each wallet is like.
    drawn = _wallets(random, wallets, days)
    # 2. Draw its sessions.
    owner, time = _sessions(random, drawn, days)
    is_deposit = random.random(len(owner)) < drawn.of("deposits", owner)
    # 3. Draw swaps, deposits and withdrawals.
    swaps = _swaps(random, drawn, owner[~is_deposit], time[~is_deposit])
    deposits = _deposits(random, drawn, owner[is_deposit], time[is_deposit])
    rows = _ordered([*swaps, *deposits], days, until)
    names = list(BEHAVIOURS)
    return Histories(rows, [names[code] for code in drawn.behaviour.tolist()])


def _wallets(random: np.random.Generator, count: int, days: int) -> _Wallets:
    shares = np.array([b.share for b in BEHAVIOURS.values()])
    behaviour = random.choice(len(shares), count, p=shares / shares.sum())
    blank = np.zeros(count)
    drawn = _Wallets(behaviour, blank, blank, blank, blank, blank, behaviour, behaviour)
    every = np.arange(count)
    # Who is keener trades more, in more pools, and stays longer.
    keen = random.normal(size=count)
    start = random.random(count) * drawn.of("latest_start", every) * days
    life = random.exponential(drawn.of("lifetime", every) * np.exp(0.4 * keen))
    popularity = 1 / np.arange(1, POOLS + 1)
    return _Wallets(
        behaviour,
        start,
        np.minimum(start + np.maximum(life, 0.1), days),
        np.exp(0.5 * keen + random.normal(0, 0.8, count)),
        random.normal(0, 0.8, count),
        random.beta(2.0, 2.0, count) * 2,
        1 + random.poisson(drawn.of("pools", every) * np.exp(0.3 * keen)),
        random.choice(POOLS, (count, _FAVOURITES), p=popularity / popularity.sum()),
    )


def _sessions(random: np.random.Generator, wallets: _Wallets, days: int) -> tuple[Ints, Floats]:
    """Owner and time (days from the start) of each session; every wallet has one at its start."""
    every = np.arange(len(wallets.start))
    alive = wallets.end - wallets.start
    expected = wallets.of("sessions", every) * wallets.zeal * alive
    counts = 1 + np.minimum(random.poisson(expected), _MAX_SESSIONS)
    owner = np.repeat(every, counts)
    place = random.random(len(owner))
    place[np.cumsum(counts) - counts] = 0.0
    return owner, np.minimum(wallets.start[owner] + place * alive[owner], days)


def _swaps(
    random: np.random.Generator, wallets: _Wallets, session: Ints, time: Floats
) -> list[Columns]:
    """The swaps of sessions, and those that trade them back."""
    further = random.exponential(np.maximum(wallets.of("burst", session), 1e-9))
    counts = 1 + np.minimum(np.floor(further), _MAX_BURST).astype(np.int64)
    owner = np.repeat(session, counts)
    gaps = random.exponential(wallets.of("gap", owner)) / DAY_SECONDS
    # Gaps add up from the start of their session.
    total, ends = np.cumsum(gaps), np.cumsum(counts)
    firsts = ends - counts
    passed = total - np.repeat(total[firsts], counts)
    swaps = _rows(random, wallets, owner, np.repeat(time, counts) + passed, action=SWAP)
    washed = random.random(len(owner)) < wallets.of("washed", owner) * wallets.wash[owner]
    return [swaps, _traded_back(random, {name: v[washed] for name, v in swaps.items()})]


def _traded_back(random: np.random.Generator, swaps: Columns) -> Columns:
    count = len(swaps["wallet"])
    return swaps | {
        "time": swaps["time"] + random.uniform(5, _WASH_SECONDS, count) / DAY_SECONDS,
        "usd": swaps["usd"] * random.uniform(0.992, 1.0, count),
        "back": ~np.asarray(swaps["back"], np.bool_),
    }


def _deposits(
    random: np.random.Generator, wallets: _Wallets, owner: Ints, time: Floats
) -> list[Columns]:
    """Deposits, and a withdrawal of each, whole or in part, when its time has come."""
    deposits = _rows(random, wallets, owner, time, action=DEPOSIT)
    hold = wallets.of("hold", owner) * np.exp(random.normal(0, 1.0, len(owner)))
    part = random.random(len(owner)) < _PARTLY_WITHDRAWN
    kept = np.where(part, random.uniform(0.2, 0.9, len(owner)), 1.0)
    withdraws = deposits | {
        "time": deposits["time"] + hold,
        "action": np.full(len(owner), WITHDRAW),
        "usd": deposits["usd"] * kept * np.exp(random.normal(0, 0.1, len(owner))),
    }
    return [deposits, withdraws]


def _rows(
    random: np.random.Generator, wallets: _Wallets, owner: Ints, time: Floats, *, action: int
) -> Columns:
    count = len(owner)
    median = wallets.of("swap_usd" if action == SWAP else "deposit_usd", owner)
    spread = random.normal(size=count) * wallets.of("spread", owner)
    favourite = (random.random(count) * np.minimum(wallets.pools[owner], _FAVOURITES)).astype(int)
    return {
        "wallet": owner,
        "time": time,
        "action": np.full(count, action),
        "pool": wallets.favourites[owner, favourite],
        "usd": median * np.exp(wallets.size[owner] + spread),
        "back": random.random(count) < 0.5,
    }


def _ordered(parts: list[Columns], days: int, until: int) -> pa.Table:
    """Rows of the past in order, at most `MAX_TRANSACTIONS` a wallet."""
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    seconds = np.floor(columns.pop("time") * DAY_SECONDS).astype(np.int64)
    columns["timestamp"] = until - days * DAY_SECONDS + seconds
    columns["usd"] = np.round(columns["usd"].astype(np.float64), 2)
    order = np.lexsort([columns["action"], columns["timestamp"], columns["wallet"]])
    order = order[columns["timestamp"][order] <= until]
    wallet = columns["wallet"][order].astype(np.int64)
    left = np.searchsorted(wallet, wallet, side="right") - np.arange(len(wallet))
    order = order[left <= MAX_TRANSACTIONS]
    return pa.table(
        [pa.array(columns[field.name][order], field.type) for field in ROWS], schema=ROWS
    )
