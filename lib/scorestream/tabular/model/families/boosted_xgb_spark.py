"""XGBoost's own distributed trainer, for rows that no process holds."""

from __future__ import annotations

from typing import Any, Final

from pyspark.sql import DataFrame
from xgboost.spark import SparkXGBClassifier, SparkXGBRegressor

from scorestream.tabular.model.families import FitOptions
from scorestream.tabular.model.families.boosted_xgb import Boosted

_OWN: Final = frozenset({"nthread", "seed", "validate_parameters", "num_class"})


def fit_distributed(rows: DataFrame, options: FitOptions, workers: int) -> Boosted:
    """Learn from rows of `features` (array of numbers) and `label`, in so many tasks at a time."""
    given: dict[str, Any] = {k: v for k, v in options.params.items() if k not in _OWN}
    kind = SparkXGBClassifier if options.task == "classification" else SparkXGBRegressor
    if options.task == "classification":
        # Its estimator finds the objective itself.
        given.pop("objective", None)
    estimator = kind(
        features_col="features",
        label_col="label",
        num_workers=workers,
        random_state=options.seed,
        **given,
    )
    booster = estimator.fit(rows).get_booster()
    booster.set_param({"nthread": 1})
    return Boosted(booster)
