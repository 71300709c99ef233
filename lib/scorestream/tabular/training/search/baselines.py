"""Baselines: trivial predictions, each from the value of one SQL expression.

A model that is no better than the share of each label, or than one column, has learned nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd
import pyarrow as pa

from scorestream.tabular.model.derived_features import add_derived_features
from scorestream.tabular.model.families import Floats
from scorestream.tabular.model.trained_model import ModelCard
from scorestream.tabular.training.data.datasets import Flags
from scorestream.tabular.training.evaluation import anomaly_metrics, evaluate
from scorestream.tabular.training.metrics import Metric
from scorestream.tabular.training.search.training_context import TrainingContext

# Metrics of each baseline on the held-out rows, by its name.
BaselineMetrics = Mapping[str, Mapping[str, float]]
_VALUE: Final = "baseline value"


@dataclass(frozen=True)
class BaselineComparison:
    """Whether a model beats a baseline, and the same as a line of text."""

    is_beaten: bool
    text: str


def evaluate_baselines(context: TrainingContext) -> BaselineMetrics:
    """Evaluate each baseline on the held-out rows; it learns from the training rows.

    Raises:
        TrainingError: an expression cannot be computed.
    """
    return {name: _evaluate(context, sql) for name, sql in context.use_case.baselines.items()}


def compare_with_baseline(
    metric: Metric, ours: Mapping[str, float], name: str, theirs: Mapping[str, float]
) -> BaselineComparison:
    """Compare the metrics of a model with those of a named baseline."""
    values = [metrics.get(metric.name, float("nan")) for metrics in (ours, theirs)]
    if np.isnan(values).any():
        text = f"{metric.name} is not defined for the held-out rows: no comparison with {name}"
        return BaselineComparison(is_beaten=False, text=text)
    is_beaten = metric.better(*values)
    verb = "beats" if is_beaten else "does not beat"
    text = f"{metric.name} {values[0]:.5g} {verb} {values[1]:.5g} of baseline {name}"
    return BaselineComparison(is_beaten, text)


def _evaluate(context: TrainingContext, sql: str) -> dict[str, float]:
    card, truth, held_out = context.card, context.examples.truth, context.data.held_out
    values = _compute_values(context.data.rows, sql)
    if card.task == "anomaly":
        score = values.fillna(values.min())[held_out].to_numpy(np.float64)
        return anomaly_metrics(truth[held_out], score, card.flag)
    return evaluate(card, truth[held_out], _margin(card, values, truth, ~held_out)[held_out])


def _compute_values(rows: pa.Table, sql: str) -> pd.Series:
    return pd.Series(np.asarray(add_derived_features(rows, {_VALUE: sql})[_VALUE], np.float64))


def _margin(card: ModelCard, values: pd.Series, truth: Floats, learned: Flags) -> Floats:
    """Margins of all rows: the mean outcome of the training rows with the same value.

    Each mean counts one more row with the overall mean; a value that is not in the training rows
    gets the overall mean.
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
        {k: (sums[k]["sum"] + mean) / (sums[k]["count"] + 1) for k, mean in overall.items()}
    )
    predictions = means.reindex(values).fillna(overall).to_numpy()
    if not classes:
        return np.asarray(predictions[:, 0])
    logs = np.log(predictions)
    return np.asarray(logs[:, 1] - logs[:, 0] if len(classes) == 2 else logs)
