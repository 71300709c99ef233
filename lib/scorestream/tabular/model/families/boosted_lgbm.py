"""Gradient boosted trees by LightGBM, kept in its own text format."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import lightgbm
import numpy as np

from scorestream.infra.errors import TrainingError
from scorestream.tabular.model.families import FitOptions, Floats
from scorestream.tabular.model.families.objectives import Objectives

_FILE: Final = "booster.txt"
_ROUNDS: Final = "n_estimators"
_OBJECTIVES: Final = Objectives(
    family="lightgbm",
    values=(
        *("regression", "regression_l1", "huber", "fair", "quantile", "mape"),
        *("l1", "l2", "mae", "mse", "rmse"),
    ),
    two=("binary", "cross_entropy"),
    more=("multiclass", "softmax"),
)
_LINKS: Final = ("reg_sqrt", "sigmoid")


@dataclass(frozen=True)
class Boosted:
    """A booster; with more than two classes it has trees of each."""

    booster: lightgbm.Booster
    classes: int

    def margin(self, x: Floats) -> Floats:
        """Margins of encoded rows."""
        return np.asarray(self.booster.predict(x, raw_score=True, num_threads=1), np.float64)

    def contributions(self, x: Floats) -> Floats:
        """Shapley values of the columns, and the mean margin of the training rows."""
        parts = np.asarray(self.booster.predict(x, pred_contrib=True, num_threads=1), np.float64)
        return parts.reshape(len(x), self.classes, -1) if self.classes > 2 else parts

    def save(self, folder: Path) -> None:
        """Write it into an existing folder."""
        self.booster.save_model(folder / _FILE)


def fit(x: Floats, y: Floats, options: FitOptions) -> Boosted:
    """Learn, with LightGBM's parameters; `n_estimators` are the rounds.

    Raises:
        TrainingError: a parameter that it refuses, or that would change what margins mean.
    """
    params = parameters(options)
    rounds = params.pop(_ROUNDS, 100)
    try:
        rows = lightgbm.Dataset(x, y, weight=options.weights, free_raw_data=True)
        booster = lightgbm.train(params, rows, rounds)
    except (lightgbm.basic.LightGBMError, TypeError, ValueError) as error:
        raise TrainingError(f"family lightgbm: {error}") from None
    return Boosted(booster, options.classes)


def parameters(options: FitOptions) -> dict[str, Any]:
    """LightGBM's parameters, with the objective of the task unless one is given.

    Raises:
        TrainingError: an objective, or a parameter, whose margins are no values or log-odds.
    """
    fixed = {
        "seed": options.seed,
        "num_threads": 1,
        "deterministic": True,
        "force_row_wise": True,
        "verbosity": -1,
    }
    params = _OBJECTIVES.parameters(options, fixed)
    for name in _LINKS:
        if name in params:
            raise TrainingError(f"family lightgbm: {name}: would change what its margins mean")
    return params


def load(folder: Path) -> Boosted:
    """Read a model."""
    booster = lightgbm.Booster(model_file=folder / _FILE)
    return Boosted(booster, booster.num_model_per_iteration())
