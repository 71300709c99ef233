"""Typed configuration of the scoring models; loaded from YAML elsewhere, frozen here."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Final, Self

from pydantic import AfterValidator, Field, model_validator

from scorestream.infra.config.frozen_model import FrozenModel
from scorestream.wallets.scorers.dex_v1.declaration import DECLARATION

FEATURE_NAMES: Final = tuple(feature.name for feature in DECLARATION.features)

Points = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Proportional(FrozenModel):
    """Points in proportion to a feature, all of them at `full_at`."""

    points: Points
    full_at: Positive


class Counted(FrozenModel):
    """Points for each of something, up to a limit."""

    points_each: Points
    limit: Points


class Share(FrozenModel):
    """Points for a share of 1."""

    points: Points


class LpPoints(FrozenModel):
    """The five parts of the LP score."""

    volume: Proportional
    frequency: Counted
    retention: Share
    holding: Proportional
    diversity: Counted


class TokenPoints(FrozenModel):
    """Points for each distinct stable and volatile symbol swapped, up to a limit."""

    stable: Points
    volatile: Points
    limit: Points


class ActivityStep(FrozenModel):
    """Points where the mean gap between swaps is at most `hours`."""

    hours: Positive
    points: Points


class ActivityPoints(FrozenModel):
    """Points by the mean gap between swaps: the first step not exceeded, else `slower`."""

    steps: Annotated[tuple[ActivityStep, ...], Field(min_length=1)]
    slower: Points

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        hours = [step.hours for step in self.steps]
        if hours != sorted(set(hours)):
            raise ValueError("steps must have ascending hours")
        return self


class SwapPoints(FrozenModel):
    """The five parts of the swap score."""

    volume: Proportional
    frequency: Counted
    tokens: TokenPoints
    pools: Counted
    activity: ActivityPoints


class FinalWeights(FrozenModel):
    """Weights of the LP and the swap score in the final score."""

    lp_weight: Points
    swap_weight: Points


def _known_feature(name: str) -> str:
    if name not in FEATURE_NAMES:
        raise ValueError(f"is none of the features {', '.join(FEATURE_NAMES)}")
    return name


class Rung(FrozenModel):
    """A tag for wallets whose feature is above a limit."""

    feature: Annotated[str, AfterValidator(_known_feature)]
    above: float
    tag: str


Ladder = Annotated[tuple[Rung, ...], Field(min_length=1)]


class DexV1Config(FrozenModel):
    """All constants of ``dex-v1``."""

    name: str
    lp: LpPoints
    swap: SwapPoints
    final: FinalWeights
    tags: Annotated[tuple[Ladder, ...], Field(min_length=1)]
    stable_symbols: frozenset[str] = Field(default=frozenset(), min_length=1, validate_default=True)

    @property
    def config_hash(self) -> str:
        """16 hex digits that change whenever a constant or a stable symbol does."""
        content = self.model_dump() | {"stable_symbols": sorted(self.stable_symbols)}
        canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]
