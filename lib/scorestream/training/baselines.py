"""Trivial rivals of a model: what rows of the same value of an expression came to.

A model that is no better than the share of each label, or than one column, has learned nothing.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import pandas as pd
import pyarrow as pa

from scorestream.training.config import UseCase
from scorestream.training.datasets import Flags
from scorestream.training.derived import with_derived
from scorestream.training.evaluation import anomaly_metrics, evaluate
from scorestream.training.families import Floats
from scorestream.training.learning import Examples
from scorestream.training.model import Card

_VALUE: Final = "baseline value"


def baseline_metrics(
    use_case: UseCase, card: Card, rows: pa.Table, examples: Examples, held_out: Flags
) -> dict[str, dict[str, float]]:
    """Metrics of each baseline on the held-out rows.

    Args:
        use_case: with the baselines.
        card: of the model.
        rows: checked, with all columns that the expressions name.
        examples: of the same rows.
        held_out: which of them are; a baseline knows what the others came to.

    Raises:
        TrainingError: an expression cannot be computed.
    """
    found = {}
    for name, sql in use_case.baselines.items():
        values = _values(rows, sql)
        if card.task == "anomaly":
            score = values.fillna(values.min())[held_out].to_numpy(np.float64)
            found[name] = anomaly_metrics(examples.truth[held_out], score, card.flag)
        else:
            margin = _margin(card, values, examples.truth, ~held_out)[held_out]
            found[name] = evaluate(card, examples.truth[held_out], margin)
    return found


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
