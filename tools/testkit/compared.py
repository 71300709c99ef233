"""Figures of a comparison, and scores to explain."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scorestream.wallets.comparison.figures import Figures

FIGURES = Figures(
    both=2,
    only_left=0,
    only_right=1,
    same_moment=2,
    mean=-1.0,
    lowest=1.0,
    highest=9.0,
    quantiles=(1.0,) * 5,
    largest=4.0,
    rank_correlation=-1.0,
    moved={("> 20 %", -1): 2},
)


def score(final: float, breakdown: Mapping[str, Any], **features: float) -> dict[str, Any]:
    return {"final_score": final, "breakdown": breakdown, "features": features}
