"""What a use case is made of: columns, target, split, candidates, search, reasons, drift."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Task = Literal["classification", "regression", "anomaly"]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,79}$")]
# MLflow takes these letters in names of metrics.
MetricName = Annotated[str, Field(pattern=r"^\w[\w .-]{0,79}$")]
# Arrow's names of the types that labels have.
LabelType = Literal["string", "int64", "double", "bool"]
Texts = tuple[str, ...]
Values = Annotated[tuple[str, ...], Field(min_length=1)]
Share = Annotated[float, Field(gt=0, lt=1)]
Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
# What the tables that jobs write add to the columns of the input.
WRITTEN_COLUMNS: Final = ("prediction", "probability", "error")


class Frozen(BaseModel):
    """Immutable, and refuses keys it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Column(Frozen):
    """A column that is a feature, and which of its values are possible.

    Attributes:
        kind: number, category (no order), or ordinal (`values` from the lowest to the highest).
        values: of a category or ordinal; a category without has those of the training rows.
        min: least possible number.
        max: largest possible number.
        absent: values that stand for a missing one, for instance 0 millimetres.
        missing: whether a missing value is imputed, or makes the row a bad one.
    """

    kind: Literal["number", "category", "ordinal"]
    values: Values | None = None
    min: float | None = None
    max: float | None = None
    absent: tuple[float | str, ...] = ()
    missing: Literal["impute", "refuse"] = "impute"

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.kind == "number" and self.values is not None:
            raise ValueError("a number has min and max, no values")
        if self.kind != "number" and (self.min is not None or self.max is not None):
            raise ValueError(f"a column of kind {self.kind} has values, no min and max")
        if self.kind == "ordinal" and self.values is None:
            raise ValueError("an ordinal needs its values, from the lowest to the highest")
        if self.values is not None and len(set(self.values)) < len(self.values):
            raise ValueError("values must be different")
        return self


class Target(Frozen):
    """The column that is predicted; of an anomaly, what rows are, where that is known.

    Attributes:
        labels: of a classification, default: those of the training rows, sorted.
        positive: the label whose probability is told; of two labels.
        anomalous: what rows are that shall be flagged: judges an anomaly model, never teaches it.
        log: a regression learns the logarithm: errors count by their share of the value.
        min: least possible number.
        max: largest possible number.
    """

    column: str
    labels: Annotated[tuple[str, ...], Field(min_length=2)] | None = None
    positive: str | None = None
    anomalous: Texts = ()
    log: bool = False
    min: float | None = None
    max: float | None = None


class Validation(Frozen):
    """What happens to rows that cannot be learned from.

    Attributes:
        duplicates: rows that repeat another one in every column that the use case names.
        most_bad: training is refused when more than this share of the rows is bad.
    """

    duplicates: Literal["drop", "keep", "refuse"] = "drop"
    most_bad: Annotated[float, Field(ge=0, lt=1)] = 0.05


class Split(Frozen):
    """Which rows are held out from training, to judge the models by.

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


class Range(Frozen):
    """Values that a search tries: whole numbers if both bounds are, or choices."""

    low: int | float | None = None
    high: int | float | None = None
    log: bool = False
    choices: tuple[Any, ...] | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        bounds = self.low is not None and self.high is not None
        if bounds == (self.choices is not None) or (self.low is None) != (self.high is None):
            raise ValueError("needs low and high, or choices")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError("low must not be above high")
        if self.log and (self.low is None or self.low <= 0):
            raise ValueError("log needs low above 0")
        return self


class Encoding(Frozen):
    """How a model sees a feature; None: as its family likes best.

    Attributes:
        to: as_is (a number; an ordinal by its place), scaled (to mean 0 and deviation 1), steps (of
            an ordinal, one column a grade reached), one_hot, or ramps (a number as pieces between
            its quantiles).
        log: take the logarithm first.
        pieces: of ramps.
    """

    to: Literal["as_is", "scaled", "steps", "one_hot", "ramps"]
    log: bool = False
    pieces: Annotated[int, Field(ge=2, le=100)] = 8


class Candidate(Frozen):
    """A way to learn that competes with the others.

    Attributes:
        family: one of the registered families.
        features: columns and derived features that it sees; None: all.
        params: of the family, fixed.
        space: of the family, searched.
        encode: features that are not encoded as the family likes best.
        bags: so many models of different seeds, averaged.
        over: another learner, whose remainder this one learns (regressions).
    """

    family: str
    features: Values | None = None
    params: Mapping[str, Any] = {}
    space: Mapping[str, Range] = {}
    encode: Mapping[str, Encoding] = {}
    bags: Count = 1
    over: Candidate | None = None

    @property
    def layers(self) -> tuple[Candidate, ...]:
        """The candidate and what is below it."""
        return (self, *(self.over.layers if self.over else ()))


class Search(Frozen):
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


class Bound(Frozen):
    """What a metric has to reach."""

    at_least: float | None = None
    at_most: float | None = None

    @model_validator(mode="after")
    def _some(self) -> Self:
        if self.at_least is None and self.at_most is None:
            raise ValueError("needs at_least or at_most")
        return self


class Thresholds(BaseModel):
    """What a champion reaches on held-out rows.

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


class Reasons(Frozen):
    """How the parts of a prediction are told.

    Attributes:
        prefix: before an amount in the prediction's unit, behind its sign.
        suffix: behind an amount.
        decimals: of an amount.
        text: of each feature, with {amount}, {feature}, {value} and {average}.
        texts: of single features, instead.
    """

    prefix: str = ""
    suffix: str = ""
    decimals: Annotated[int, Field(ge=0, le=12)] = 2
    text: str = "{amount}: {feature} {value} against an average of {average}"
    texts: Mapping[str, str] = {}

    @model_validator(mode="after")
    def _fill(self) -> Self:
        try:
            for text in (self.text, *self.texts.values()):
                text.format(amount="", feature="", value="", average="")
        except (KeyError, IndexError, ValueError) as error:
            raise ValueError(f"a text cannot be filled in: {error!r}") from None
        return self


class Likeness(Frozen):
    """Which samples are similar: the same in some columns, and nearest in another."""

    same: Values
    nearest: str


class Drift(Frozen):
    """From where on data are too different from those of the training.

    Attributes:
        psi: population stability index, of a feature or the predictions.
        missing: how much the share of missing values may have grown.
    """

    psi: Positive = 0.2
    missing: Share = 0.05
