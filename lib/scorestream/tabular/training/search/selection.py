"""Selection of candidates, and weights of blends, by several metrics at once."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from scorestream.tabular.model.families import Floats
from scorestream.tabular.model.trained_model import ModelCard
from scorestream.tabular.training.evaluation import evaluate
from scorestream.tabular.training.metrics import Metric

# Weights of a blend are multiples of one over this.
STEPS: Final = 20
_LEAST: Final = 1e-12


def compute_mean_losses(
    candidates: Sequence[Mapping[str, float]], metrics: Sequence[Metric]
) -> list[float]:
    """Mean over the metrics of each candidate's loss, relative to the least loss; lower is better.

    NaN where a metric is not defined.
    """
    losses = np.array([[m.loss(one.get(m.name, math.nan)) for m in metrics] for one in candidates])
    known = losses[np.isfinite(losses).all(axis=1)]
    if not len(known):
        return [math.nan] * len(candidates)
    least = np.maximum(known.min(axis=0), _LEAST)
    return [float(value) for value in (np.maximum(losses, _LEAST) / least).mean(axis=1)]


def fit_weights(
    card: ModelCard, truth: Floats, margins: Sequence[Floats], metrics: Sequence[Metric]
) -> tuple[float, ...]:
    """Fit the weights of a blend: repeatedly add the member that improves it most.

    This is ensemble selection (Caruana and others, 2004): it takes any metric, and a member that
    does not help has weight 0.

    Args:
        card: the members' card.
        truth: of the rows.
        margins: of each member, for rows that it was not trained on.
        metrics: by which blends are compared.
    """
    counts = np.zeros(len(margins))
    alone = [evaluate(card, truth, margin) for margin in margins]
    for _ in range(STEPS):
        tried = [counts + one for one in np.eye(len(margins))]
        blends = [
            sum(n * m for n, m in zip(some, margins, strict=True)) / some.sum() for some in tried
        ]
        judged = [evaluate(card, truth, np.asarray(blend)) for blend in blends]
        # Beside the members alone, so that each step is measured by the same losses.
        losses = compute_mean_losses([*judged, *alone], metrics)[: len(tried)]
        if np.isnan(losses).all():
            break
        counts = tried[int(np.nanargmin(losses))]
    if not counts.any():
        return (1 / len(margins),) * len(margins)
    return tuple(float(weight) for weight in counts / counts.sum())
