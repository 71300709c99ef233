"""Trivial rivals of a model: what rows of the same value of an expression came to.

A model that is no better than the share of each label, or than one column, has learned nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd
import pyarrow as pa

from scorestream.tabular.model.derived_features import with_derived
from scorestream.tabular.model.families import Floats
from scorestream.tabular.model.trained_model import Card
from scorestream.tabular.training.data.datasets import Flags
from scorestream.tabular.training.evaluation import anomaly_metrics, evaluate
from scorestream.tabular.training.metrics import Metric
from scorestream.tabular.training.search.context import Training

# Metrics of each baseline on the held-out rows, by its name.
Rivals = Mapping[str, Mapping[str, float]]
_VALUE: Final = "baseline value"


@dataclass(frozen=True)
class Comparison:
    """Whether a baseline is beaten, and that as a line."""

    beaten: bool
    told: str


def baseline_metrics(training: Training) -> Rivals:
    """Metrics of each baseline on the held-out rows; it knows what the others came to.

    Raises:
        TrainingError: an expression cannot be computed.
    """
    return {name: _metrics(training, sql) for name, sql in training.use_case.baselines.items()}


def against(
    metric: Metric, ours: Mapping[str, float], name: str, theirs: Mapping[str, float]
) -> Comparison:
    """Whether the metrics of a model are better than those of a baseline of a name."""
    values = [metrics.get(metric.name, float("nan")) for metrics in (ours, theirs)]
    if np.isnan(values).any():
        told = f"{metric.name} is not defined for the held-out rows: no comparison with {name}"
        return Comparison(False, told)
    beaten = metric.better(*values)
    verb = "beats" if beaten else "does not beat"
    return Comparison(
        beaten, f"{metric.name} {values[0]:.5g} {verb} {values[1]:.5g} of baseline {name}"
    )


def _metrics(training: Training, sql: str) -> dict[str, float]:
    card, truth, held_out = training.card, training.examples.truth, training.data.held_out
    values = _values(training.data.rows, sql)
    if card.task == "anomaly":
        score = values.fillna(values.min())[held_out].to_numpy(np.float64)
        return anomaly_metrics(truth[held_out], score, card.flag)
    return evaluate(card, truth[held_out], _margin(card, values, truth, ~held_out)[held_out])


def _values(rows: pa.Table, sql: str) -> pd.Series:
    return pd.Series(np.asarray(with_derived(rows, {_VALUE: sql})[_VALUE], np.float64))


def _margin(card: Card, values: pd.Series, truth: Floats, learned: Flags) -> Floats:
    """Margins of all rows: what the learned rows of the same value came to.

    A value counts as if one more row of it had come to what all rows do, and a new one is like all.
    """
    classes = range(len(card.labels))
    outcomes = (
        pd.DataFrame({k: (truth == k).astype(float) for k in classes})
        if classes
        else pd.DataFrame({0: np.log(truth) if card.log else truth})
    )
    known, groups = outcomes[learned], values[learned]
    overall = known.mean()
    sums = known.groupby(groups, dropna=False).agg(["sum", "count"])
    means = pd.DataFrame(
        {k: (sums[k]["sum"] + overall[k]) / (sums[k]["count"] + 1) for k in outcomes}
    )
    found = means.reindex(values).fillna(overall).to_numpy()
    if not classes:
        return np.asarray(found[:, 0])
    logs = np.log(found)
    return np.asarray(logs[:, 1] - logs[:, 0] if len(classes) == 2 else logs)
