"""Model families by name: one entry of `FAMILIES` adds one.

A family's module is imported when it is first needed, so that a process which only applies models
loads none of the training libraries. It holds two functions:

`fit(x, y, options)` trains in one thread; `load(folder)` reads what `FittedModel.save` wrote.
Where training needs a library that applying does not, `load` is in a module of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Final, Literal, Protocol

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class FitOptions:
    """What a family needs for training beside the data.

    Attributes:
        task: classification, regression or anomaly.
        classes: number of classes of a classification.
        params: hyper-parameters of the family.
        seed: of every random choice.
        weights: of each row, 1 on average; None: all the same. For regressions.
    """

    task: str
    classes: int
    params: Mapping[str, Any]
    seed: int
    weights: Floats | None = None


class FittedModel(Protocol):
    """A fitted model of one family.

    Its margins are the value itself in a regression; the log-odds of the second class with two
    classes (shape: rows); one column per class with more (rows x classes); the logarithm of a score
    in [0, 1] for anomalies.
    """

    def margin(self, x: Floats) -> Floats:
        """Margins of encoded rows (rows x columns)."""

    def contributions(self, x: Floats) -> Floats:
        """Contributions that sum to the margin: one per column and, last, the start of every row.

        Rows x (columns + 1), with more than two classes rows x classes x (columns + 1).
        """

    def save(self, folder: Path) -> None:
        """Write it into an existing folder, as data that no reader has to execute."""


@dataclass(frozen=True)
class Family:
    """An entry of the registry.

    Attributes:
        module: with `fit`, and with `load` unless there is a reader.
        tasks: what it can learn.
        style: how features are encoded by default: for `linear` models, or for `trees`.
        package: that applies its models.
        reader: module with `load`; None: the same.
        distributed: module with `fit_distributed`, for rows that no process holds; None for none.
    """

    module: str
    tasks: frozenset[str]
    style: Literal["linear", "trees"]
    package: str
    reader: str | None = None
    distributed: str | None = None

    def fit(self, x: Floats, y: Floats, options: FitOptions) -> FittedModel:
        """Learn from encoded rows; y are numbers, or the places of labels; zeros for an anomaly."""
        fitted: FittedModel = import_module(self.module).fit(x, y, options)
        return fitted

    def load(self, folder: Path) -> FittedModel:
        """Read a model."""
        fitted: FittedModel = import_module(self.reader or self.module).load(folder)
        return fitted

    def fit_distributed(self, rows: Any, options: FitOptions, workers: int) -> FittedModel:
        """Learn in Spark from rows of `features`, an array of numbers, and `label`."""
        assert self.distributed is not None  # noqa: S101
        module = import_module(self.distributed)
        fitted: FittedModel = module.fit_distributed(rows, options, workers)
        return fitted


_BOTH: Final = frozenset({"classification", "regression"})
_HERE: Final = "scorestream.tabular.model.families"

FAMILIES: dict[str, Family] = {
    "linear": Family(
        f"{_HERE}.linear", frozenset({"regression"}), "linear", "numpy", f"{_HERE}.terms"
    ),
    "logistic": Family(
        f"{_HERE}.logistic", frozenset({"classification"}), "linear", "numpy", f"{_HERE}.terms"
    ),
    "isolation_forest": Family(
        f"{_HERE}.isolation_forest", frozenset({"anomaly"}), "linear", "numpy", f"{_HERE}.forest"
    ),
    "xgboost": Family(
        f"{_HERE}.boosted_xgb",
        _BOTH,
        "trees",
        "xgboost-cpu",
        distributed=f"{_HERE}.boosted_xgb_spark",
    ),
    "lightgbm": Family(f"{_HERE}.boosted_lgbm", _BOTH, "trees", "lightgbm"),
}
