"""Why a wallet's score moved: the parts of its breakdown and its features that differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Difference:
    """A value that both sides have, and not the same."""

    name: str
    left: float
    right: float

    @property
    def change(self) -> float:
        """Right - left."""
        return self.right - self.left

    @property
    def share(self) -> float:
        """The change as a share of the larger of the two, in [0, 2]."""
        return abs(self.change) / max(abs(self.left), abs(self.right))


@dataclass(frozen=True)
class Move:
    """A wallet whose score moved, and why.

    Attributes:
        parts: of the breakdown, those that moved by most points first.
        features: that differ, those that changed by the largest share first.
        only_left: parts of the breakdown that only the left side has.
        only_right: parts of the breakdown that only the right side has.
    """

    wallet: str
    left: float
    right: float
    parts: list[Difference]
    features: list[Difference]
    only_left: frozenset[str]
    only_right: frozenset[str]


def explained(wallet: str, left: Mapping[str, Any], right: Mapping[str, Any]) -> Move:
    """A wallet's move with its reasons.

    Args:
        wallet: its key.
        left: `final_score`, `features` and `breakdown` of the left score.
        right: those of the right one.
    """
    parts = flat(left["breakdown"]), flat(right["breakdown"])
    features = flat(left["features"]), flat(right["features"])
    return Move(
        wallet,
        left["final_score"],
        right["final_score"],
        sorted(_differences(*parts), key=lambda d: (-abs(d.change), d.name)),
        sorted(_differences(*features), key=lambda d: (-d.share, d.name)),
        frozenset(parts[0]) - frozenset(parts[1]),
        frozenset(parts[1]) - frozenset(parts[0]),
    )


def flat(values: Mapping[str, Any] | None, prefix: str = "") -> dict[str, float]:
    """The numbers of nested mappings, by their names with dots; what is null is not there."""
    found: dict[str, float] = {}
    for name, value in (values or {}).items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{name}.")
        elif isinstance(value, int | float):
            found[f"{prefix}{name}"] = float(value)
    return found


def _differences(left: Mapping[str, float], right: Mapping[str, float]) -> list[Difference]:
    return [
        Difference(name, left[name], right[name])
        for name in left
        if name in right and left[name] != right[name]
    ]
