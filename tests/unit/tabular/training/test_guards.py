"""A champion gives way to what is better by one metric and loses by no other."""

from __future__ import annotations

import math

import numpy as np
import pytest

from scorestream.tabular.model.trained_model import ModelCard
from scorestream.tabular.training.config.sections import Guard
from scorestream.tabular.training.evaluation import evaluate
from scorestream.tabular.training.metrics import metric_of
from scorestream.tabular.training.runs.promotion_decision import compare_metrics
from scorestream.tabular.training.search.selection import compute_mean_losses, fit_weights

MAPE, R2 = metric_of("regression", "mape"), metric_of("regression", "r2")


@pytest.mark.parametrize(
    ("ours", "tolerance", "better", "told"),
    [
        ({"mape": 0.06, "r2": 0.98}, 0.0, True, "r2 0.98 holds against 0.973"),
        ({"mape": 0.06, "r2": 0.967}, 0.0, False, "r2 0.967 loses against 0.973"),
        ({"mape": 0.06, "r2": 0.967}, 0.01, True, "holds against 0.973, 0.01 may be lost"),
        ({"mape": 0.07, "r2": 0.98}, 0.0, False, "r2 0.98 holds against 0.973"),
        ({"mape": 0.06}, 0.0, False, "r2 nan loses against 0.973"),
    ],
)
def test_a_challenger_must_win_by_one_metric_and_lose_by_no_guard(
    ours: dict[str, float], tolerance: float, *, better: bool, told: str
) -> None:
    guards = {R2: Guard(tolerance=tolerance)}
    found, texts = compare_metrics(MAPE, guards, ours, {"mape": 0.068, "r2": 0.973})
    assert found is better
    assert (
        texts[0]
        == f"mape {ours['mape']:g} {'beats' if ours['mape'] < 0.068 else 'does not beat'} 0.068"
    )
    assert told in texts[1]


def test_losses_are_over_the_least_of_all() -> None:
    found = compute_mean_losses(
        [{"mape": 0.1, "r2": 0.9}, {"mape": 0.2, "r2": 0.95}, {"mape": 0.1}, {"mape": math.nan}],
        [MAPE, R2],
    )
    assert found[:2] == pytest.approx([1.5, 1.5])
    assert np.isnan(found[2:]).all()


def test_a_fitted_blend_is_better_by_all_metrics_together_than_any_member() -> None:
    random = np.random.default_rng(5)
    truth = np.exp(random.normal(7, 1, 2000))
    # One is good for the cheap, one for the dear, and one for none.
    cheap = truth < np.median(truth)
    noise = [np.where(cheap, a, b) for a, b in ((0.05, 0.2), (0.2, 0.05), (0.4, 0.4))]
    margins = [np.log(truth) + random.normal(0, 1, 2000) * each for each in noise]
    card = ModelCard(name="t", task="regression", target="y", log=True, columns={})
    weights = fit_weights(card, truth, margins, (MAPE, R2))
    assert sum(weights) == pytest.approx(1)
    assert weights == fit_weights(card, truth, margins, (MAPE, R2))
    assert weights[2] <= 0.05
    blend = np.asarray(sum(w * m for w, m in zip(weights, margins, strict=True)))
    losses = compute_mean_losses([evaluate(card, truth, m) for m in (blend, *margins)], (MAPE, R2))
    assert losses[0] < min(losses[1:])
