"""Configuration of a model: columns, candidates, encodings, reasons, similarity."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, model_validator

from scorestream.infra.config.frozen_model import FrozenModel

Task = Literal["classification", "regression", "anomaly"]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,79}$")]
# Arrow's names of the types that labels have.
LabelType = Literal["string", "int64", "double", "bool"]
Texts = tuple[str, ...]
Values = Annotated[tuple[str, ...], Field(min_length=1)]
Count = Annotated[int, Field(ge=1)]
# What the tables that jobs write add to the columns of the input.
WRITTEN_COLUMNS: Final = ("prediction", "probability", "error")


class Column(FrozenModel):
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


class Range(FrozenModel):
    """The values that a search tries: a range, of whole numbers if both bounds are, or choices."""

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


class Encoding(FrozenModel):
    """How a feature is encoded; None: the default of the family.

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


class Candidate(FrozenModel):
    """A model family with its parameters, which competes in a training.

    Attributes:
        family: one of the registered families.
        features: columns and derived features that it sees; None: all.
        params: of the family, fixed.
        space: of the family, searched.
        encode: features that are not encoded as the family likes best.
        bags: so many models of different seeds, averaged.
        weigh: rows count by their target to this power: with a logarithm that is learned by squared
            errors 2 counts errors of the value itself, 0 their shares (regressions).
        over: another learner, whose remainder this one learns (regressions).
    """

    family: str
    features: Values | None = None
    params: Mapping[str, Any] = {}
    space: Mapping[str, Range] = {}
    encode: Mapping[str, Encoding] = {}
    bags: Count = 1
    weigh: Annotated[float, Field(ge=0, le=4)] = 0.0
    over: Candidate | None = None

    @property
    def layers(self) -> tuple[Candidate, ...]:
        """The candidate and what is below it."""
        return (self, *(self.over.layers if self.over else ()))


class Reasons(FrozenModel):
    """How the reasons of a prediction are worded.

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


class Similarity(FrozenModel):
    """Which samples are similar: the same in some columns, and nearest in another."""

    same: Values
    nearest: str
