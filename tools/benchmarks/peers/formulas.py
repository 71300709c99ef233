"""The formulas of docs/scoring.md as SQL expressions that DuckDB and Spark both understand.

The peers aggregate the rows in their own ways, into columns named as here: the features that are
sums and counts, and `held_seconds`, `span_seconds`, `swap_span_seconds`, `stable_symbols` and
`other_symbols`.
"""

from __future__ import annotations

from scorestream.wallets.scorers.dex_v1.config import Counted, DexV1Config, Proportional


def derived_features(config: DexV1Config) -> dict[str, str]:
    """The features that are no aggregates themselves, over the aggregates."""
    tokens = config.swap.tokens
    symbols = f"{_number(tokens.stable)} * stable_symbols + {_number(tokens.volatile)}"
    return {
        "withdraw_ratio": _ratio("total_withdraw_usd", "total_deposit_usd"),
        "avg_hold_time_days": _ratio("held_seconds / 86400e0", "num_deposits"),
        "account_age_days": "span_seconds / 86400e0",
        "avg_swap_size": _ratio("total_swap_volume", "num_swaps"),
        "token_diversity_score": f"LEAST({symbols} * other_symbols, {_number(tokens.limit)})",
        "swap_frequency_score": _swap_frequency(config),
    }


def final_score(config: DexV1Config) -> str:
    """The final score over the features."""
    lp, swap = config.lp, config.swap
    lp_score = (
        _proportional("total_deposit_usd", lp.volume),
        _counted("num_deposits", lp.frequency),
        f"GREATEST(0e0, (1 - withdraw_ratio) * {_number(lp.retention.points)})",
        _proportional("avg_hold_time_days", lp.holding),
        _counted("unique_pools", lp.diversity),
    )
    swap_score = (
        _proportional("total_swap_volume", swap.volume),
        _counted("num_swaps", swap.frequency),
        "token_diversity_score",
        "swap_frequency_score",
        _counted("unique_pools_swapped", swap.pools),
    )
    weights = config.final
    return " + ".join(
        f"{_number(weight)} * ({' + '.join(parts)})"
        for weight, parts in ((weights.lp_weight, lp_score), (weights.swap_weight, swap_score))
    )


def _swap_frequency(config: DexV1Config) -> str:
    activity = config.swap.activity
    hours = "swap_span_seconds / (num_swaps - 1) / 3600e0"
    steps = " ".join(
        f"WHEN {hours} <= {_number(step.hours)} THEN {_number(step.points)}"
        for step in activity.steps
    )
    return f"CASE WHEN num_swaps < 2 THEN 0e0 {steps} ELSE {_number(activity.slower)} END"


def _ratio(part: str, whole: str) -> str:
    return f"COALESCE({part} / NULLIF({whole}, 0), 0e0)"


def _proportional(feature: str, points: Proportional) -> str:
    full, most = _number(points.full_at), _number(points.points)
    return f"LEAST({feature} / {full} * {most}, {most})"


def _counted(feature: str, points: Counted) -> str:
    return f"LEAST({_number(points.points_each)} * {feature}, {_number(points.limit)})"


def _number(value: float) -> str:
    # With an exponent it is a double in both, without one a decimal; 17 digits are all of it.
    return f"{value:.16e}"
