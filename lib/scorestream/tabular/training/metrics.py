"""Metrics of predictions, by task: names and whether more is better; computed in `evaluation`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Metric:
    """A metric.

    Attributes:
        more_is_better: else less is.
    """

    name: str
    more_is_better: bool

    def better(self, value: float, other: float) -> bool:
        """Whether a value is better than another; one that is no number is not."""
        return value > other if self.more_is_better else value < other

    def loss(self, value: float) -> float:
        """What is to be small; of what is the better the more of 1 it is, the rest."""
        return 1 - value if self.more_is_better else value


METRICS: Final[dict[str, tuple[Metric, ...]]] = {
    "classification": (
        Metric("accuracy", more_is_better=True),
        Metric("precision", more_is_better=True),
        Metric("recall", more_is_better=True),
        Metric("f1", more_is_better=True),
        Metric("roc_auc", more_is_better=True),
        Metric("log_loss", more_is_better=False),
        Metric("calibration_error", more_is_better=False),
    ),
    "anomaly": (
        Metric("roc_auc", more_is_better=True),
        Metric("average_precision", more_is_better=True),
        Metric("precision", more_is_better=True),
        Metric("recall", more_is_better=True),
    ),
    "regression": (
        Metric("mae", more_is_better=False),
        Metric("rmse", more_is_better=False),
        Metric("r2", more_is_better=True),
        Metric("mape", more_is_better=False),
    ),
}


def metric_of(task: str, name: str) -> Metric:
    """A task's metric of a name."""
    return next(metric for metric in METRICS[task] if metric.name == name)
