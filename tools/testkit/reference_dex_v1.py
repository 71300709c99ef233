"""`dex-v1` once more, in plain Python straight from its text: the oracle of the property tests."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

STABLE = {"USDC", "USDT", "DAI", "LUSD", "USDP", "TUSD", "FRAX"}
Row = dict[str, Any]


def _usd(leg: Row | None) -> float:
    return 0.0 if leg is None else float(leg.get("amountUSD", 0))


def _symbol(leg: Row | None) -> str | None:
    return "" if leg is None else leg.get("symbol", "")


def _both(row: Row) -> float:
    return _usd(row.get("token0")) + _usd(row.get("token1"))


def _larger(row: Row) -> float:
    return max(_usd(row.get("tokenIn")), _usd(row.get("tokenOut")))


def _total(rows: list[Row], value: Callable[[Row], float]) -> float:
    return math.fsum(map(value, rows))


def _pools(rows: list[Row]) -> int:
    return len({row.get("poolId", "") for row in rows} - {None})


def _mean_hold_days(deposits: list[Row], withdraws: list[Row], as_of: int) -> float:
    spans = []
    for deposit in deposits:
        start = deposit["timestamp"]
        exits = [w["timestamp"] for w in withdraws if w["timestamp"] > start]
        spans.append((min(exits, default=as_of) - start) / 86400)
    return math.fsum(spans) / len(spans) if spans else 0.0


def _token_points(swaps: list[Row]) -> float:
    symbols = {_symbol(row.get(leg)) for row in swaps for leg in ("tokenIn", "tokenOut")} - {None}
    return min(sum(10 if symbol in STABLE else 15 for symbol in symbols), 150)


def _activity_points(swaps: list[Row]) -> float:
    if len(swaps) < 2:
        return 0
    times = sorted(row["timestamp"] for row in swaps)
    hours = (times[-1] - times[0]) / (len(times) - 1) / 3600
    steps = ((1, 100), (24, 80), (168, 60), (720, 40))
    return next((points for limit, points in steps if hours <= limit), 20)


def final_score(message: Row, as_of: int) -> float:
    """The final score of a valid message with at least one dexes transaction."""
    rows = [
        row
        for entry in message["data"]
        if entry["protocolType"] == "dexes"
        for row in entry["transactions"]
    ]
    deposits, withdraws, swaps = (
        [row for row in rows if row["action"] == action]
        for action in ("deposit", "withdraw", "swap")
    )
    deposited, volume = _total(deposits, _both), _total(swaps, _larger)
    ratio = _total(withdraws, _both) / deposited if deposited else 0
    lp = [
        min(deposited / 10_000 * 300, 300),
        min(20 * len(deposits), 200),
        max(0, (1 - ratio) * 250),
        min(_mean_hold_days(deposits, withdraws, as_of) / 30 * 150, 150),
        min(20 * _pools(rows), 100),
    ]
    swap = [
        min(volume / 50_000 * 250, 250),
        min(10 * len(swaps), 200),
        _token_points(swaps),
        _activity_points(swaps),
        min(25 * _pools(swaps), 100),
    ]
    return 0.6 * sum(lp) + 0.4 * sum(swap)
