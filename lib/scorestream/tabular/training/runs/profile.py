"""The training profile: data version, counts and distributions, for drift."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from scorestream.infra.config.frozen_model import FrozenModel
from scorestream.tabular.model.trained_model import TabularModel

BINS: Final = 10
# Sure probabilities differ from model to model in their last digits only: no bins between those.
PROBABILITY_EDGES: Final = tuple(place / BINS for place in range(1, BINS))
_QUANTILES: Final = (0.0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)


class NumberProfile(FrozenModel):
    """How a number is distributed.

    Attributes:
        count: rows, of which `missing` is the share without a value.
        quantiles: by their share: minimum, percentiles 1 to 99, maximum.
        edges: upper bounds (included) of all bins but the last, which has none.
        shares: of the rows with a value, in each bin.
    """

    kind: Literal["number"] = "number"
    count: int
    missing: float
    mean: float | None
    deviation: float | None
    quantiles: Mapping[str, float]
    edges: tuple[float, ...]
    shares: tuple[float, ...]

    @property
    def bins(self) -> tuple[str, ...]:
        """What the bins are called."""
        bounds = [f"≤ {edge:.4g}" for edge in self.edges]
        return (*bounds, f"> {self.edges[-1]:.4g}") if bounds else ("all",)


class TextProfile(FrozenModel):
    """How a category or label is distributed: shares of the rows with a value."""

    kind: Literal["text"] = "text"
    count: int
    missing: float
    values: tuple[str, ...]
    shares: tuple[float, ...]

    @property
    def bins(self) -> tuple[str, ...]:
        """What the bins are called; the last one is for values that were not there."""
        return (*self.values, "(new)")


ColumnProfile = Annotated[NumberProfile | TextProfile, Field(discriminator="kind")]


class Profile(FrozenModel):
    """The data of a training.

    Attributes:
        name: of the model.
        source: where the rows came from.
        data_version: 16 hex digits over the use case's columns of all rows, whatever their order.
        rows: that could be learned from.
        bad_rows: what was wrong with the others, each kind with its number; one may have several.
        held_out: of the rows, those that were not learned; the evaluation was on them.
        sample: that many rows the distributions and the evaluation are of; None: all.
        transformations: what was done to them, in order.
        columns: features, derived ones too, and the target.
        predictions: of rows by models that had not learned them, or by the one that nobody told
            what they are; for classifications, too, the probability that is told.
    """

    format: Literal[1] = 1
    name: str
    source: str
    data_version: str
    rows: int
    held_out: int
    bad_rows: Mapping[str, int]
    sample: int | None = None
    transformations: tuple[str, ...]
    columns: Mapping[str, ColumnProfile]
    predictions: Mapping[str, ColumnProfile]


def profile_column(
    values: pa.ChunkedArray | pa.Array, edges: tuple[float, ...] | None = None
) -> NumberProfile | TextProfile:
    """Describe a column of numbers or texts.

    Args:
        values: of the column.
        edges: bounds between the bins of numbers; None: bins of about equal size.
    """
    present = values.drop_null()
    missing = values.null_count / max(len(values), 1)
    if not pa.types.is_floating(values.type):
        return _texts(present.cast(pa.string()), len(values), missing)
    numbers = np.asarray(present, np.float64)
    quantiles = np.quantile(numbers, _QUANTILES) if len(numbers) else ()
    edges = bin_edges(numbers) if edges is None else edges
    return NumberProfile(
        count=len(values),
        missing=missing,
        mean=float(numbers.mean()) if len(numbers) else None,
        deviation=float(numbers.std()) if len(numbers) else None,
        quantiles={f"{q:g}": float(v) for q, v in zip(_QUANTILES, quantiles, strict=False)},
        edges=edges,
        shares=_shares(np.searchsorted(edges, numbers, side="left"), len(edges) + 1),
    )


def _texts(present: pa.ChunkedArray | pa.Array, count: int, missing: float) -> TextProfile:
    values = tuple(sorted(pc.unique(present).to_pylist()))
    places = np.asarray(pc.index_in(present, pa.array(values, pa.string())), np.int64)
    return TextProfile(
        count=count, missing=missing, values=values, shares=_shares(places, len(values) + 1)
    )


def bin_edges(numbers: np.ndarray[tuple[int], np.dtype[np.float64]]) -> tuple[float, ...]:
    """Bounds between bins of about equal size, fewer where values repeat."""
    if not len(numbers):
        return ()
    inner = np.quantile(numbers, np.linspace(0, 1, BINS + 1)[1:-1], method="lower")
    # The last bin is what lies above the last edge: it must not be empty.
    return tuple(float(edge) for edge in np.unique(inner) if edge < numbers.max())


def compute_shares(
    profile: NumberProfile | TextProfile, values: pa.ChunkedArray
) -> tuple[float, ...]:
    """Shares of other values in the bins of a profile."""
    present = values.drop_null()
    if isinstance(profile, NumberProfile):
        numbers = np.asarray(present, np.float64)
        places = np.searchsorted(profile.edges, numbers, side="left")
        return _shares(places, len(profile.edges) + 1)
    known = pa.array(profile.values, pa.string())
    indices = pc.index_in(present.cast(pa.string()), known)
    indices = pc.fill_null(indices, len(profile.values))
    return _shares(np.asarray(indices, np.int64), len(profile.values) + 1)


def _shares(places: np.ndarray[tuple[int], np.dtype[np.int64]], bins: int) -> tuple[float, ...]:
    counts = np.bincount(places, minlength=bins)
    return tuple((counts / max(len(places), 1)).tolist())


def describe_transformations(model: TabularModel) -> tuple[str, ...]:
    """What is done to raw columns before a family sees them, in order."""
    steps = [
        f"{name}: {column.kind}, absent: {', '.join(map(str, column.absent))}"
        for name, column in model.card.columns.items()
        if column.absent
    ]
    steps += [f"{name} = {' '.join(sql.split())}" for name, sql in model.card.derived.items()]
    for part in model.parts:
        steps += [f"{part.family}: {e.model_dump_json()}" for e in part.preparation.encoders]
    return tuple(dict.fromkeys(steps))
