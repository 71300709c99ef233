"""Encoders: typed rows → the numbers that a family learns from; fitted once, kept as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from scorestream.infra.config.frozen_model import FrozenModel
from scorestream.infra.errors import TrainingError
from scorestream.tabular.model.config import Candidate, Column, Encoding
from scorestream.tabular.model.families import FAMILIES, Floats

_NUMBER = Column(kind="number")


class NumberEncoder(FrozenModel):
    """A number, or its logarithm, less `mean` and divided by `scale`.

    Attributes:
        fill: stands for a missing value.
    """

    to: Literal["numbers"] = "numbers"
    feature: str
    fill: float | None
    log: bool = False
    mean: float = 0.0
    scale: float = 1.0

    @property
    def width(self) -> int:
        """Columns that it gives."""
        return 1

    def encode(self, values: pa.ChunkedArray) -> Floats:
        """The column as rows x width."""
        numbers = _fill_missing(values, self.fill, log=self.log)
        return np.asarray((numbers - self.mean) / self.scale)[:, None]


class RampEncoder(FrozenModel):
    """A number as pieces between knots: how much of each it has passed.

    A sum of them with coefficients from 0 up grows with the number, in a line between two knots;
    the last piece has no end.
    """

    to: Literal["ramps"] = "ramps"
    feature: str
    fill: float
    log: bool = False
    knots: tuple[float, ...]

    @property
    def width(self) -> int:
        """Columns that it gives."""
        return len(self.knots)

    def encode(self, values: pa.ChunkedArray) -> Floats:
        """The column as rows x width."""
        numbers = _fill_missing(values, self.fill, log=self.log)[:, None]
        starts = np.array(self.knots)
        lengths = np.append(np.diff(starts), np.inf)
        # Below the first knot the first piece goes on.
        floors = np.append(-np.inf, np.zeros(len(starts) - 1))
        return np.asarray(np.clip(numbers - starts, floors, lengths))


class OrdinalEncoder(FrozenModel):
    """A category or ordinal by its place among the values.

    Attributes:
        fill: stands for a missing value; None: that stays one.
    """

    to: Literal["places"] = "places"
    feature: str
    values: tuple[str, ...]
    fill: int | None = None

    @property
    def width(self) -> int:
        """Columns that it gives."""
        return 1

    def encode(self, values: pa.ChunkedArray) -> Floats:
        """The column as rows x width."""
        places = _places(values, self.values)
        return (places if self.fill is None else np.nan_to_num(places, nan=self.fill))[:, None]


class StepEncoder(FrozenModel):
    """An ordinal as one column for each grade above the lowest: 1 where it is reached."""

    to: Literal["grades"] = "grades"
    feature: str
    values: tuple[str, ...]
    fill: int

    @property
    def width(self) -> int:
        """Columns that it gives."""
        return len(self.values) - 1

    def encode(self, values: pa.ChunkedArray) -> Floats:
        """The column as rows x width."""
        places = np.nan_to_num(_places(values, self.values), nan=self.fill)
        return np.asarray(places[:, None] >= np.arange(1, len(self.values)), np.float64)


class OneHotEncoder(FrozenModel):
    """A category as one column a value: 1 where it is that; missing has none."""

    to: Literal["one_hot"] = "one_hot"
    feature: str
    values: tuple[str, ...]

    @property
    def width(self) -> int:
        """Columns that it gives."""
        return len(self.values)

    def encode(self, values: pa.ChunkedArray) -> Floats:
        """The column as rows x width."""
        places = _places(values, self.values)
        return np.asarray(places[:, None] == np.arange(len(self.values)), np.float64)


Encoder = Annotated[
    NumberEncoder | RampEncoder | OrdinalEncoder | StepEncoder | OneHotEncoder,
    Field(discriminator="to"),
]


class Preparation(FrozenModel):
    """Encoders of some features, side by side."""

    encoders: tuple[Encoder, ...]

    @property
    def sources(self) -> tuple[str, ...]:
        """Of each column that it gives, the feature it is made of."""
        return tuple(e.feature for e in self.encoders for _ in range(e.width))

    def encode(self, rows: pa.Table) -> Floats:
        """Encoded rows (rows x columns)."""
        return np.concatenate([e.encode(rows[e.feature]) for e in self.encoders], axis=1)


def fit_preparation(
    rows: pa.Table, columns: Mapping[str, Column], derived: Sequence[str], candidate: Candidate
) -> Preparation:
    """Fit the encoders of a candidate to rows, derived features included.

    Raises:
        TrainingError: a feature has no value at all, or a logarithm of what has none.
    """
    names = candidate.features or (*columns, *derived)
    style = FAMILIES[candidate.family].style
    return Preparation(
        encoders=tuple(
            _fit_encoder(
                name,
                rows[name],
                columns.get(name, _NUMBER),
                candidate.encode.get(name) or _default(columns.get(name, _NUMBER), style),
                style=style,
            )
            for name in names
        )
    )


def _default(column: Column, style: str) -> Encoding:
    if column.kind == "number":
        return Encoding(to="scaled" if style == "linear" else "as_is")
    if column.kind == "ordinal":
        return Encoding(to="steps" if style == "linear" else "as_is")
    return Encoding(to="one_hot")


def _fit_encoder(
    name: str, values: pa.ChunkedArray, column: Column, encoding: Encoding, *, style: str
) -> Encoder:
    if values.null_count == len(values):
        raise TrainingError(f"column {name}: no row has a value: leave the feature out")
    if column.kind == "number":
        return _fit_number(name, values, encoding, style)
    # Categories without configured values have those of the training rows.
    grades = column.values or tuple(sorted(pc.unique(values.drop_null()).to_pylist()))
    if encoding.to == "one_hot":
        return OneHotEncoder(feature=name, values=grades)
    middle = int(np.nanmedian(_places(values, grades)))
    if encoding.to == "steps":
        return StepEncoder(feature=name, values=grades, fill=middle)
    # Trees learn themselves where missing values belong.
    return OrdinalEncoder(feature=name, values=grades, fill=None if style == "trees" else middle)


def _fit_number(
    name: str, values: pa.ChunkedArray, encoding: Encoding, style: str
) -> NumberEncoder | RampEncoder:
    present = np.asarray(values.drop_null().cast(pa.float64()))
    if encoding.log and present.min() <= 0:
        raise TrainingError(f"column {name}: has values of 0 and below, which have no logarithm")
    numbers = np.log(present) if encoding.log else present
    fill = float(np.median(numbers))
    if encoding.to == "ramps":
        knots = np.unique(np.quantile(numbers, np.linspace(0, 1, encoding.pieces + 1)[:-1]))
        return RampEncoder(feature=name, fill=fill, log=encoding.log, knots=tuple(knots.tolist()))
    if encoding.to == "scaled":
        scale = float(numbers.std()) or 1.0
        return NumberEncoder(
            feature=name, fill=fill, log=encoding.log, mean=float(numbers.mean()), scale=scale
        )
    # Trees learn themselves where missing values belong.
    return NumberEncoder(feature=name, fill=None if style == "trees" else fill, log=encoding.log)


def _fill_missing(values: pa.ChunkedArray, fill: float | None, *, log: bool) -> Floats:
    numbers = np.asarray(pc.fill_null(values, np.nan), np.float64)
    if log:
        with np.errstate(divide="ignore", invalid="ignore"):
            numbers = np.log(numbers)
        # As of a derived feature: what is no finite number is missing.
        numbers = np.where(np.isfinite(numbers), numbers, np.nan)
    return numbers if fill is None else np.where(np.isnan(numbers), fill, numbers)


def _places(values: pa.ChunkedArray, known: Sequence[str]) -> Floats:
    indices = pc.index_in(values, pa.array(known, pa.string()))
    return np.array(pc.fill_null(indices.cast(pa.float64()), np.nan), np.float64)
