"""Drift measures of data, and of predictions for them, against the training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
from scipy.stats import chi2

from scorestream.tabular.model.trained_model import TabularModel
from scorestream.tabular.training.config.sections import Drift
from scorestream.tabular.training.runs.profile import ColumnProfile, Profile, compute_shares

# A bin without a row counts as if it had this share: else one empty bin would be infinitely far.
MIN_SHARE: Final = 1e-4
CHANCE: Final = 0.99


@dataclass(frozen=True)
class ColumnDrift:
    """The drift of one column.

    Attributes:
        name: of a feature, or `prediction` or `probability`.
        psi: population stability index; below 0.1 nothing to speak of.
        chance: what the index of rows like those of the training stays below, 99 times of 100.
        missing: share of missing values now.
        missing_before: that of the training.
        drifted: whether it is beyond the limits.
        profile: of the training.
        shares: now, in the bins of the profile.
    """

    name: str
    psi: float
    chance: float
    missing: float
    missing_before: float
    drifted: bool
    profile: ColumnProfile
    shares: tuple[float, ...]


def measure_drift(
    model: TabularModel, profile: Profile, table: pa.Table, limits: Drift
) -> list[ColumnDrift]:
    """Compare raw rows, and the model's predictions for them, with the profile of its training.

    A value that the model refuses counts as missing; the largest index comes first.

    Raises:
        InputError: a column is missing, or has a type that cannot be meant.
    """
    features = model.features(model.check(table).rows)
    drifts = [
        measure_column_drift(name, profile.columns[name], features[name], limits)
        for name in features.column_names
        if name in profile.columns
    ]
    predicted = model.predict(table)
    outputs = {"prediction": predicted.values, "probability": predicted.probability}
    for name, before in profile.predictions.items():
        values = outputs[name]
        if values is not None:
            drifts.append(measure_column_drift(name, before, pa.chunked_array([values]), limits))
    return sorted(drifts, key=lambda column: -column.psi)


def measure_column_drift(
    name: str, profile: ColumnProfile, values: pa.ChunkedArray, limits: Drift
) -> ColumnDrift:
    """Compare a column with its profile.

    An index within what chance gives is no drift, nor one at or below the limit.
    """
    shares = compute_shares(profile, values)
    present = len(values) - values.null_count
    before = profile.count * (1 - profile.missing)
    psi = stability_index(profile.shares, shares) if present and before else 0.0
    missing = values.null_count / max(len(values), 1)
    chance = chance_index(len(shares), before, present)
    return ColumnDrift(
        name,
        psi,
        chance,
        missing,
        profile.missing,
        psi > max(limits.psi, chance) or missing - profile.missing > limits.missing,
        profile,
        shares,
    )


def stability_index(before: tuple[float, ...], now: tuple[float, ...]) -> float:
    """Population stability index: sum of (now - before) * ln(now / before) over the bins."""
    p = np.maximum(before, MIN_SHARE)
    q = np.maximum(now, MIN_SHARE)
    return float(((q - p) * np.log(q / p)).sum())


def chance_index(bins: int, before: float, now: float) -> float:
    """What the index of two samples of one distribution stays below, 99 times of 100.

    Times n·m/(n+m) it is distributed as chi-square with one degree of freedom less than bins.
    """
    if bins < 2 or before <= 0 or now <= 0:
        return 0.0
    return float(chi2.ppf(CHANCE, bins - 1) * (1 / before + 1 / now))
