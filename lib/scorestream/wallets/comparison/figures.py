"""The two sides of a comparison, and the figures that it comes to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

#: By how much a score moved, as a share of the left one; a score that was 0 moved by more than all.
CLASSES: Final = ("unchanged", "< 1 %", "1–5 %", "5–20 %", "> 20 %")
PERCENTS: Final = (50, 75, 90, 95, 99)
CELLS: Final = 48
# Odd, so that one bar stands for no change.
BARS: Final = 41


@dataclass(frozen=True)
class Side:
    """One side of a comparison: a scoring model, or one run of it."""

    scoring: str
    run_id: str | None = None

    def __str__(self) -> str:
        return self.scoring if self.run_id is None else f"{self.scoring} (run {self.run_id})"


@dataclass(frozen=True)
class Figures:
    """What the pairs come to.

    Attributes:
        same_moment: pairs of one `as_of`.
        mean: of right - left, in points.
        lowest: of all scores.
        highest: of all scores.
        quantiles: |right - left| in points at `PERCENTS`.
        largest: the largest |right - left|.
        rank_correlation: Spearman's, ties by their mean rank; None where it is not defined.
        moved: (class, -1 fell, 0 or 1 rose) -> wallets.
    """

    both: int
    only_left: int
    only_right: int
    same_moment: int = 0
    mean: float = 0.0
    lowest: float = 0.0
    highest: float = 0.0
    quantiles: Sequence[float] = ()
    largest: float = 0.0
    rank_correlation: float | None = None
    moved: Mapping[tuple[str, int], int] = field(default_factory=dict)
