"""Model families by name: one entry adds one.

The module of a family is imported when it is first needed, so that a process which only applies
models has none of the libraries that they do not use. It holds two functions:

`fit(x, y, learning)` learns, in one thread, and `load(folder)` reads what `Fitted.save(folder)` has
written. Where learning needs a library that applying does not, `load` is in a module of its own.
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
class Learning:
    """What a family is told beside the data.

    Attributes:
        task: classification, regression or anomaly.
        classes: of a classification.
        params: of the family.
        seed: of all that is random.
        weights: how much each row counts, on average 1; None: all the same (regressions).
    """

    task: str
    classes: int
    params: Mapping[str, Any]
    seed: int
    weights: Floats | None = None


class Fitted(Protocol):
    """A learned model of one family.

    Margins are what it adds up: the value itself in a regression, log-odds of the second class with
    two classes (shape: rows), one column a class with more (rows x classes); of an anomaly the
    logarithm of a score in [0, 1].
    """

    def margin(self, x: Floats) -> Floats:
        """Margins of encoded rows (rows x columns)."""

    def contributions(self, x: Floats) -> Floats:
        """Parts that sum to the margin: columns and, last, what every row starts from.

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

    def fit(self, x: Floats, y: Floats, learning: Learning) -> Fitted:
        """Learn from encoded rows; y are numbers, or the places of labels; zeros for an anomaly."""
        fitted: Fitted = import_module(self.module).fit(x, y, learning)
        return fitted

    def load(self, folder: Path) -> Fitted:
        """Read a model."""
        fitted: Fitted = import_module(self.reader or self.module).load(folder)
        return fitted

    def fit_distributed(self, rows: Any, learning: Learning, workers: int) -> Fitted:
        """Learn in Spark from rows of `features`, an array of numbers, and `label`."""
        assert self.distributed is not None  # noqa: S101
        module = import_module(self.distributed)
        fitted: Fitted = module.fit_distributed(rows, learning, workers)
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
