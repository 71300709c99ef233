"""Sections of a use case's configuration: target, validation, split, search, thresholds, drift."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from scorestream.infra.config.frozen_model import FrozenModel
from scorestream.tabular.model.config import Count, Texts

# MLflow takes these letters in names of metrics.
MetricName = Annotated[str, Field(pattern=r"^\w[\w .-]{0,79}$")]
Share = Annotated[float, Field(gt=0, lt=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Target(FrozenModel):
    """The column to predict; for an anomaly model, the column that marks known anomalies, if any.

    Attributes:
        labels: of a classification, default: those of the training rows, sorted.
        positive: of two labels, the one whose probability is given.
        anomalous: values that mark anomalies: to evaluate an anomaly model, never to train it.
        log: a regression learns the logarithm, so that errors are relative to the value.
        bounded: a regression predicts nothing beyond the values of its training rows.
        min: least possible number.
        max: largest possible number.
    """

    column: str
    labels: Annotated[tuple[str, ...], Field(min_length=2)] | None = None
    positive: str | None = None
    anomalous: Texts = ()
    log: bool = False
    bounded: bool = False
    min: float | None = None
    max: float | None = None


class Validation(FrozenModel):
    """What happens to bad rows and duplicates.

    Attributes:
        duplicates: rows that repeat another one in every column that the use case names.
        most_bad: training is refused when more than this share of the rows is bad.
    """

    duplicates: Literal["drop", "keep", "refuse"] = "drop"
    most_bad: Annotated[float, Field(ge=0, lt=1)] = 0.05


class Split(FrozenModel):
    """Which rows are held out from training, to evaluate the models on.

    Attributes:
        by: random; stratified, with the same share of each label; or time, the latest rows.
        column: by time: of unix seconds or ISO 8601 times; of texts, numbers are seconds.
    """

    by: Literal["random", "stratified", "time"] = "random"
    held_out: Share = 0.2
    column: str | None = None
    seed: int = 0

    @model_validator(mode="after")
    def _column_by_time(self) -> Self:
        if (self.by == "time") != (self.column is not None):
            raise ValueError("a split by time, and no other, needs a column")
        return self


class Search(FrozenModel):
    """How hyper-parameters are searched.

    Attributes:
        metric: by cross-validation over the rows that are not held out; also that by which the
            candidates, and champion and challenger, are compared.
        trials: a candidate; the first has the middle of each range.
        group: column; rows of the same value are never on both sides of a fold.
        workers: folds at a time; None: as many as there are processors.
    """

    metric: str
    group: str | None = None
    trials: Count = 20
    folds: Annotated[int, Field(ge=2, le=50)] = 5
    repeats: Count = 2
    seed: int = 0
    workers: Count | None = None


class Bound(FrozenModel):
    """What a metric has to reach."""

    at_least: float | None = None
    at_most: float | None = None

    @model_validator(mode="after")
    def _some(self) -> Self:
        if self.at_least is None and self.at_most is None:
            raise ValueError("needs at_least or at_most")
        return self


class Guard(FrozenModel):
    """A metric by which a challenger must not lose against the champion.

    Attributes:
        tolerance: how much worse it may be.
    """

    tolerance: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0


class Thresholds(BaseModel):
    """What a champion must reach on held-out rows.

    Attributes:
        beats_baselines: whether it is better than each baseline, by `search.metric`.
    """

    model_config = ConfigDict(frozen=True, extra="allow")
    __pydantic_extra__: dict[str, Bound] = Field(init=False)

    beats_baselines: bool = False

    @property
    def bounds(self) -> Mapping[str, Bound]:
        """Of metrics, by name."""
        return self.__pydantic_extra__

    def failures(self, metrics: Mapping[str, float]) -> list[str]:
        """The bounds that metrics do not reach."""
        failures = []
        for name, bound in self.bounds.items():
            value = metrics.get(name)
            if value is None:
                failures.append(f"{name} is not defined for the held-out rows")
            elif bound.at_least is not None and not value >= bound.at_least:
                failures.append(f"{name} {value:.4g} is below {bound.at_least:g}")
            elif bound.at_most is not None and not value <= bound.at_most:
                failures.append(f"{name} {value:.4g} is above {bound.at_most:g}")
        return failures


class Drift(FrozenModel):
    """Limits beyond which data have drifted from the training data.

    Attributes:
        psi: population stability index, of a feature or the predictions.
        missing: how much the share of missing values may have grown.
    """

    psi: Positive = 0.2
    missing: Share = 0.05
