"""features -> scores: the reference model ``dex-v1``. Formulas: docs/scoring.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import pyarrow as pa

from scorestream.wallets.core.scorer import Declaration, Floats, Ints, Numbers, WalletScores
from scorestream.wallets.scorers.dex_v1.config import (
    Counted,
    DexV1Config,
    Proportional,
    Rung,
)
from scorestream.wallets.scorers.dex_v1.declaration import DECLARATION
from scorestream.wallets.scorers.dex_v1.features import wallet_features

Features = Mapping[str, Numbers]
Parts = dict[str, Numbers]


@dataclass(frozen=True)
class DexV1:
    """The scorer ``dex-v1``: a function of (transactions, as_of) and its configuration."""

    config: DexV1Config
    declaration: ClassVar[Declaration] = DECLARATION

    @classmethod
    def configure(
        cls, scoring: str, constants: Mapping[str, Any], stable_symbols: frozenset[str]
    ) -> Self:
        """Make it of its constants; see :meth:`ScorerClass.configure`."""
        return cls(DexV1Config(name=scoring, **constants, stable_symbols=stable_symbols))

    @property
    def config_hash(self) -> str:
        """Hash of all constants, as scores carry it."""
        return self.config.config_hash

    def score(self, rows: pa.Table, as_of: Ints) -> WalletScores:
        """Score every wallet of a batch; see :meth:`Scorer.score`."""
        features = wallet_features(
            rows,
            as_of,
            stable_symbols=self.config.stable_symbols,
            tokens=self.config.swap.tokens,
            activity=self.config.swap.activity,
        )
        weights = self.config.final
        with np.errstate(over="ignore", invalid="ignore"):
            lp, swap = self._lp_parts(features), self._swap_parts(features)
            lp_score, swap_score = _sum(lp), _sum(swap)
            final = weights.lp_weight * lp_score + weights.swap_weight * swap_score
        return WalletScores(
            final=final,
            partial={"lp": lp_score, "swap": swap_score},
            parts={"lp": lp, "swap": swap},
            features=features,
            tags=_tags(features, self.config.tags),
        )

    def _lp_parts(self, f: Features) -> Parts:
        points = self.config.lp
        return {
            "volume_score": _proportional(f["total_deposit_usd"], points.volume),
            "frequency_score": _counted(f["num_deposits"], points.frequency),
            "retention_score": np.maximum(0.0, (1 - f["withdraw_ratio"]) * points.retention.points),
            "holding_score": _proportional(f["avg_hold_time_days"], points.holding),
            "diversity_score": _counted(f["unique_pools"], points.diversity),
        }

    def _swap_parts(self, f: Features) -> Parts:
        points = self.config.swap
        return {
            "volume_score": _proportional(f["total_swap_volume"], points.volume),
            "frequency_score": _counted(f["num_swaps"], points.frequency),
            "diversity_score": f["token_diversity_score"],
            "activity_score": f["swap_frequency_score"],
            "pool_diversity_score": _counted(f["unique_pools_swapped"], points.pools),
        }


def _sum(parts: Parts) -> Floats:
    total: Floats = np.add.reduce(list(parts.values()))
    return total


def _proportional(feature: Numbers, points: Proportional) -> Floats:
    return np.minimum(feature / points.full_at * points.points, points.points)


def _counted(feature: Numbers, points: Counted) -> Floats:
    return np.minimum(points.points_each * feature, points.limit)


def _tags(values: Features, ladders: Sequence[Sequence[Rung]]) -> pa.ListArray:
    """For each wallet the tags of the first rung passed on every ladder, in the ladders' order."""
    labels = pa.array([rung.tag for ladder in ladders for rung in ladder])
    codes = np.full((len(values["num_swaps"]), len(ladders)), -1)
    first = 0
    for column, ladder in enumerate(ladders):
        passed = [values[rung.feature] > rung.above for rung in ladder]
        codes[:, column] = np.select(passed, range(first, first + len(ladder)), -1)
        first += len(ladder)
    tagged = codes >= 0
    offsets = np.concatenate([[0], np.cumsum(tagged.sum(axis=1))])
    chosen = labels.take(pa.array(codes[tagged]))
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), chosen)
