"""features -> scores: the reference model ``dex-v1``. Formulas: docs/scoring.md."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from scorestream.wallets.core import schemas
from scorestream.wallets.scorers.dex_v1.config import (
    Counted,
    DexV1Config,
    Proportional,
    Rung,
)
from scorestream.wallets.scorers.dex_v1.features import wallet_features

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class DexV1:
    """The scoring model ``dex-v1``: a function of (transactions, as_of) and its configuration."""

    config: DexV1Config

    @property
    def name(self) -> str:
        """The model's name, as scores carry it."""
        return self.config.name

    @property
    def config_hash(self) -> str:
        """Hash of all constants, as scores carry it."""
        return self.config.config_hash

    def score(self, rows: pa.Table, as_of: npt.NDArray[np.int64]) -> pa.StructArray:
        """Score every wallet of a batch.

        Args:
            rows: flat transactions (`MODEL_ROWS` or more), `message` ascending from 0.
            as_of: int64[n], unix seconds.

        Returns:
            n structs of `SCORE`; null where a feature or a part is not finite.
        """
        features = wallet_features(
            rows,
            as_of,
            stable_symbols=self.config.stable_symbols,
            tokens=self.config.swap.tokens,
            activity=self.config.swap.activity,
        )
        values = {name: np.asarray(features[name]) for name in features.column_names}
        with np.errstate(over="ignore", invalid="ignore"):
            lp, swap = self._lp_parts(values), self._swap_parts(values)
            lp_score, swap_score = _sum(lp), _sum(swap)
            weights = self.config.final
            final = weights.lp_weight * lp_score + weights.swap_weight * swap_score
        results = np.vstack([*values.values(), *lp.values(), *swap.values(), final])
        finite: npt.NDArray[np.bool_] = np.isfinite(results).all(axis=0)
        columns: dict[str, pa.Array] = {
            "zscore": _decimals(final, finite),
            "lp_score": pa.array(lp_score),
            "swap_score": pa.array(swap_score),
            "final_score": pa.array(final),
            "tags": _tags(values, self.config.tags),
            "features": features.to_struct_array().combine_chunks(),
            "breakdown": _breakdown(lp, swap),
            "models": _no_models(len(as_of)),
        }
        return pa.StructArray.from_arrays(
            [columns[f.name] for f in schemas.SCORE],
            fields=list(schemas.SCORE),
            mask=pa.array(~finite),
        )

    def _lp_parts(self, f: dict[str, Floats]) -> dict[str, Floats]:
        points = self.config.lp
        return {
            "volume_score": _proportional(f["total_deposit_usd"], points.volume),
            "frequency_score": _counted(f["num_deposits"], points.frequency),
            "retention_score": np.maximum(0.0, (1 - f["withdraw_ratio"]) * points.retention.points),
            "holding_score": _proportional(f["avg_hold_time_days"], points.holding),
            "diversity_score": _counted(f["unique_pools"], points.diversity),
        }

    def _swap_parts(self, f: dict[str, Floats]) -> dict[str, Floats]:
        points = self.config.swap
        return {
            "volume_score": _proportional(f["total_swap_volume"], points.volume),
            "frequency_score": _counted(f["num_swaps"], points.frequency),
            "diversity_score": f["token_diversity_score"],
            "activity_score": f["swap_frequency_score"],
            "pool_diversity_score": _counted(f["unique_pools_swapped"], points.pools),
        }


def _sum(parts: dict[str, Floats]) -> Floats:
    total: Floats = np.add.reduce(list(parts.values()))
    return total


def _proportional(feature: Floats, points: Proportional) -> Floats:
    return np.minimum(feature / points.full_at * points.points, points.points)


def _counted(feature: Floats, points: Counted) -> Floats:
    return np.minimum(points.points_each * feature, points.limit)


def _decimals(scores: Floats, finite: npt.NDArray[np.bool_]) -> pa.Array:
    """Exactly 18 decimals, as Python prints the float: a cast of the double gives other digits."""
    pairs = zip(scores.tolist(), finite.tolist(), strict=True)
    texts = [f"{score:.18f}" if ok else None for score, ok in pairs]
    return pa.array(texts, pa.string()).cast(schemas.ZSCORE)


def _tags(values: dict[str, Floats], ladders: Sequence[Sequence[Rung]]) -> pa.ListArray:
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


def _breakdown(lp: dict[str, Floats], swap: dict[str, Floats]) -> pa.StructArray:
    parts = {"lp": lp, "swap": swap}
    structs = [
        pa.StructArray.from_arrays(
            [pa.array(parts[f.name][p.name]) for p in f.type], fields=list(f.type)
        )
        for f in schemas.BREAKDOWN
    ]
    return pa.StructArray.from_arrays(structs, fields=list(schemas.BREAKDOWN))


def _no_models(wallets: int) -> pa.MapArray:
    return pa.array([[]] * wallets, schemas.MODELS)
