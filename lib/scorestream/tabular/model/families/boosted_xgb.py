"""Gradient boosted trees by XGBoost, kept in its own format."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import xgboost

from scorestream.infra.errors import TrainingError
from scorestream.tabular.model.families import FitOptions, Floats
from scorestream.tabular.model.families.objectives import Objectives

_FILE: Final = "booster.ubj"
_ROUNDS: Final = "n_estimators"
_OBJECTIVES: Final = Objectives(
    family="xgboost",
    values=(
        *("reg:squarederror", "reg:squaredlogerror", "reg:absoluteerror"),
        *("reg:pseudohubererror", "reg:quantileerror"),
    ),
    two=("binary:logistic", "binary:logitraw", "reg:logistic"),
    more=("multi:softprob", "multi:softmax"),
)
_LARGEST: Final = np.finfo(np.float32).max


@dataclass(frozen=True)
class Boosted:
    """A booster."""

    booster: xgboost.Booster

    def margin(self, x: Floats) -> Floats:
        """Margins of encoded rows."""
        return np.asarray(self.booster.inplace_predict(x, predict_type="margin"), np.float64)

    def contributions(self, x: Floats) -> Floats:
        """Shapley values of the columns, and the mean margin of the training rows."""
        parts = self.booster.predict(_matrix(x), pred_contribs=True)
        return np.asarray(parts, np.float64)

    def save(self, folder: Path) -> None:
        """Write it into an existing folder."""
        self.booster.save_model(folder / _FILE)


def fit(x: Floats, y: Floats, options: FitOptions) -> Boosted:
    """Learn, with XGBoost's parameters; `n_estimators` are the rounds.

    Raises:
        TrainingError: a parameter that it refuses.
    """
    params = parameters(options)
    rounds = params.pop(_ROUNDS, 100)
    try:
        rows = _matrix(x, y, options.weights)
        booster = xgboost.train(params, rows, num_boost_round=rounds)
    except (xgboost.core.XGBoostError, TypeError) as error:
        raise TrainingError(f"family xgboost: {_reason(error)}") from None
    return Boosted(booster)


def parameters(options: FitOptions) -> dict[str, Any]:
    """XGBoost's parameters, with the objective of the task unless one is given.

    Raises:
        TrainingError: an objective whose margins are no values or log-odds.
    """
    fixed = {"seed": options.seed, "nthread": 1, "validate_parameters": True}
    return _OBJECTIVES.parameters(options, fixed)


def load(folder: Path) -> Boosted:
    """Read a model."""
    booster = xgboost.Booster(model_file=folder / _FILE)
    # Rows come in small batches, and others work beside this process.
    booster.set_param({"nthread": 1})
    return Boosted(booster)


def _matrix(x: Floats, y: Floats | None = None, weights: Floats | None = None) -> xgboost.DMatrix:
    """Rows as XGBoost takes them: it refuses finite values that single precision does not have."""
    bounded = np.clip(x, -_LARGEST, _LARGEST)
    return xgboost.DMatrix(bounded, label=y, weight=weights, nthread=1)


def _reason(error: Exception) -> str:
    """The line of XGBoost's message that says what is wrong, without its stack."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[0].rpartition("] ")[2] or lines[0]
