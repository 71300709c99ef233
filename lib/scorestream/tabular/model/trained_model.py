"""A trained model of a use case: raw columns in, predictions and contributions out.

A saved model is data: JSON and the formats of the libraries, no code.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import ValidationError

from scorestream.infra.config.frozen_model import FrozenModel
from scorestream.infra.config.yaml_files import format_problems
from scorestream.infra.errors import ModelError
from scorestream.tabular.model.config import (
    Column,
    LabelType,
    Reasons,
    Similarity,
)
from scorestream.tabular.model.derived_features import add_derived_features
from scorestream.tabular.model.families import FAMILIES, FittedModel, Floats
from scorestream.tabular.model.preprocessing import Preparation
from scorestream.tabular.model.validation import CheckedRows, check_features, reject_empty_rows

_CARD: Final = "model.json"
# What single precision may lose, of 1 or of a larger margin.
_ROUNDING: Final = 1e-3


class ModelCard(FrozenModel):
    """Metadata of a model: all of it but the fitted parts.

    Attributes:
        labels: of a classification, in the order of the margins; of two, the second is positive.
        label_type: the type of labels in predictions.
        anomalous: values of the target that an anomaly model should flag.
        flag: share of the rows that an anomaly model flags.
        log: whether the margin is the logarithm of the value; true for anomaly scores.
        within: least and greatest margin of the training rows, which bound all margins; None: no
            bounds.
        ids: columns that identify a row.
        columns: of the input; categories with the values of the training rows.
        derived: features computed from the columns, as SQL expressions.
        averages: of each feature in the training rows: mean, or most frequent value.
        reasons: how reasons of a prediction are worded.
    """

    # A reader of another version refuses what it would misread.
    format: Literal[1] = 1
    name: str
    task: Literal["classification", "regression", "anomaly"]
    target: str
    labels: tuple[str, ...] = ()
    label_type: LabelType = "string"
    anomalous: tuple[str, ...] = ()
    flag: float = 0.05
    log: bool = False
    within: tuple[float, float] | None = None
    ids: tuple[str, ...] = ()
    columns: Mapping[str, Column]
    derived: Mapping[str, str] = {}
    averages: Mapping[str, float | str | None] = {}
    reasons: Reasons = Reasons()
    similar: Similarity | None = None


@dataclass(frozen=True)
class Part:
    """A weighted part of a model's margin."""

    weight: float
    family: str
    preparation: Preparation
    fitted: FittedModel


class _PartCard(FrozenModel):
    weight: float
    family: str
    preparation: Preparation


class _SavedModel(FrozenModel):
    card: ModelCard
    parts: tuple[_PartCard, ...]


@dataclass(frozen=True)
class Predictions:
    """Predictions of rows, in their order.

    Attributes:
        values: numbers, or labels; null where there is an error.
        probability: of the positive label, or with more than two of the predicted one; None where
            there are no labels.
        errors: why a row has no prediction, null where it has one.
    """

    values: pa.Array
    probability: pa.Array | None
    errors: pa.Array


@dataclass(frozen=True)
class TabularModel:
    """A model: its margin is the sum of its parts, each times its weight, within bounds."""

    card: ModelCard
    parts: tuple[Part, ...]

    def predict(self, table: pa.Table, first_row: int = 1) -> Predictions:
        """Predict from the raw columns; a row that cannot be predicted has an error.

        Args:
            table: with the model's columns, and any others.
            first_row: number of its first row, for errors.

        Raises:
            InputError: a column is missing, or has a type that cannot be meant.
        """
        checked = self.check(table, first_row)
        values, probability = self.values(self.margin(self.features(checked.rows)))
        errors = [checked.errors.get(place) for place in range(table.num_rows)]
        bad = pa.array(checked.bad)
        return Predictions(
            pc.if_else(bad, pa.scalar(None, values.type), values),
            None
            if probability is None
            else pc.if_else(bad, pa.scalar(None, pa.float64()), pa.array(probability)),
            pa.array(errors, pa.string()),
        )

    def check(self, table: pa.Table, first_row: int = 1) -> CheckedRows:
        """Convert the model's columns to their types, and find bad rows, empty ones included."""
        where = f"input of {self.card.name}"
        return reject_empty_rows(check_features(table, self.card.columns, where, first_row))

    def features(self, rows: pa.Table) -> pa.Table:
        """Checked rows with derived features."""
        return add_derived_features(rows, self.card.derived)

    def margin(self, features: pa.Table) -> Floats:
        """Margins of rows with derived features."""
        margin = self.sum_parts(features)
        return margin if self.card.within is None else np.clip(margin, *self.card.within)

    def sum_parts(self, features: pa.Table) -> Floats:
        """Margins without bounds: the weighted sum of the parts."""
        if features.num_rows == 0:
            return np.zeros((0, len(self.card.labels)) if len(self.card.labels) > 2 else 0)
        encoded = _EncodingCache(features)
        return np.asarray(
            sum(
                part.weight * part.fitted.margin(encoded.by(part.preparation))
                for part in self.parts
            )
        )

    def values(self, margin: Floats) -> tuple[pa.Array, npt.NDArray[np.float64] | None]:
        """Convert margins to numbers or labels, and the labels' probability."""
        if self.card.task != "classification":
            return pa.array(np.exp(margin) if self.card.log else margin), None
        probabilities = to_probabilities(margin)
        chosen = probabilities.argmax(axis=1)
        known = pa.array(self.card.labels, pa.string()).cast(self.card.label_type)
        labels = known.take(pa.array(chosen))
        if len(self.card.labels) == 2:
            return labels, probabilities[:, 1]
        return labels, probabilities[np.arange(len(chosen)), chosen]

    def contributions(self, features: pa.Table) -> tuple[dict[str, Floats], Floats]:
        """Contributions to the margins by feature, and the margin that every row starts from.

        With more than two classes they are those to the margin of the predicted class.

        Raises:
            ModelError: they do not sum to the margin.
        """
        names = tuple(
            dict.fromkeys(name for part in self.parts for name in part.preparation.sources)
        )
        encoded = _EncodingCache(features)
        classes = len(self.card.labels)
        shape = (features.num_rows, classes) if classes > 2 else (features.num_rows,)
        by_feature = {name: np.zeros(shape) for name in names}
        start = np.zeros(shape)
        if features.num_rows == 0:
            return {name: np.zeros(0) for name in names}, np.zeros(0)
        for part in self.parts:
            columns = part.fitted.contributions(encoded.by(part.preparation)) * part.weight
            start += columns[..., -1]
            for place, name in enumerate(part.preparation.sources):
                by_feature[name] += columns[..., place]
        margin = self.margin(features)
        if self.card.within is not None:
            _apply_bounds(margin, start, by_feature)
        _share_rounding(margin, start, by_feature)
        if classes > 2:
            chosen = (start + sum(by_feature.values())).argmax(axis=1)
            selected = np.arange(features.num_rows), chosen
            return {name: values[selected] for name, values in by_feature.items()}, start[selected]
        return by_feature, start

    def save(self, folder: Path) -> None:
        """Write it into a folder: JSON, and the formats of the libraries."""
        parts = tuple(
            _PartCard(weight=p.weight, family=p.family, preparation=p.preparation)
            for p in self.parts
        )
        folder.mkdir(parents=True, exist_ok=True)
        text = _SavedModel(card=self.card, parts=parts).model_dump_json(indent=1)
        (folder / _CARD).write_text(text, encoding="utf-8")
        for place, part in enumerate(self.parts):
            (folder / str(place)).mkdir(exist_ok=True)
            part.fitted.save(folder / str(place))

    @classmethod
    def load(cls, folder: Path) -> TabularModel:
        """Read what `save` has written.

        Raises:
            ModelError: it is damaged, or of another version of this code.
        """
        try:
            content = json.loads((folder / _CARD).read_text(encoding="utf-8"))
            written = _SavedModel.model_validate(content)
            parts = tuple(
                Part(
                    part.weight,
                    part.family,
                    part.preparation,
                    FAMILIES[part.family].load(folder / str(place)),
                )
                for place, part in enumerate(written.parts)
            )
        except ValidationError as error:
            raise ModelError(
                f"{folder}: written by another version: {format_problems(error)}"
            ) from None
        except (OSError, KeyError, ValueError) as error:
            raise ModelError(f"{folder}: is no model, or damaged: {error}") from None
        return cls(written.card, parts)


class _EncodingCache:
    """Encoded rows by preparation: parts with the same preparation share the encoding."""

    def __init__(self, features: pa.Table) -> None:
        self._features = features
        self._found: dict[Preparation, Floats] = {}

    def by(self, preparation: Preparation) -> Floats:
        if preparation not in self._found:
            self._found[preparation] = preparation.encode(self._features)
        return self._found[preparation]


def _apply_bounds(margin: Floats, start: Floats, contributions: Mapping[str, Floats]) -> None:
    """Shrink the contributions that lead beyond the bounds, in proportion to their size.

    The start is between the bounds, so they are always large enough.
    """
    excess = start + sum(contributions.values()) - margin
    leading = [
        np.where(np.sign(values) == np.sign(excess), values, 0.0)
        for values in contributions.values()
    ]
    whole = sum(leading, np.zeros_like(start))
    share = np.where(whole == 0, 0.0, excess / np.where(whole == 0, 1.0, whole))
    for values, part in zip(contributions.values(), leading, strict=True):
        values -= part * share  # noqa: PLW2901  in place


def _share_rounding(margin: Floats, start: Floats, contributions: Mapping[str, Floats]) -> None:
    """Make start and contributions sum to the margin exactly: libraries give single precision."""
    gap = margin - start - sum(contributions.values())
    if (np.abs(gap) > _ROUNDING * np.maximum(np.abs(margin), 1)).any():
        raise ModelError(f"parts of a prediction miss it by {np.abs(gap).max():g}: no explanation")
    sizes = sum((np.abs(values) for values in contributions.values()), np.zeros_like(start))
    left = gap / np.where(sizes > 0, sizes, 1.0)
    for values in contributions.values():
        values += left * np.abs(values)  # noqa: PLW2901  in place


def to_probabilities(margin: Floats) -> Floats:
    """Convert margins to the probability of each class (rows x classes)."""
    if margin.ndim == 1:
        margin = np.stack([np.zeros_like(margin), margin], axis=1)
    powers = np.exp(margin - margin.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))
