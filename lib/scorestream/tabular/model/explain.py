"""Explanations of predictions: the contribution of each feature, in the prediction's unit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from scorestream.infra.errors import InputError
from scorestream.tabular.model.config import Reasons
from scorestream.tabular.model.families import Floats
from scorestream.tabular.model.trained_model import TabularModel

# Below it a ratio of two differences is no more than rounding.
_TINY: Final = 1e-9


@dataclass(frozen=True)
class ExplainedRows:
    """Predictions of rows as sums of contributions.

    Attributes:
        predictions: numbers, labels, or null where a row is bad.
        errors: why a row is bad, else null.
        start: what every row starts from, in the unit of the terms.
        terms: contribution of each feature, in the unit of the target for a regression, in log-odds
            for a classification; `start` and the terms sum to `total`.
        total: the predicted number, or the log-odds of the positive label (with more than two:
            the margin of the predicted one); not a number where a row is bad.
        values: of each feature, derived ones too.
    """

    predictions: pa.Array
    errors: pa.Array
    start: Floats
    terms: Mapping[str, Floats]
    total: Floats
    values: pa.Table


@dataclass(frozen=True)
class Reason:
    """What one feature adds to a prediction."""

    feature: str
    amount: float
    text: str


@dataclass(frozen=True)
class Explanation:
    """One row's prediction with its reasons, the largest first."""

    prediction: float | str
    start: float
    total: float
    reasons: tuple[Reason, ...]


def explain_rows(model: TabularModel, table: pa.Table, first_row: int = 1) -> ExplainedRows:
    """Explain the predictions of rows.

    Raises:
        InputError: a column is missing, or has a type that cannot be meant.
    """
    checked = model.check(table, first_row)
    features = model.features(checked.rows)
    terms, start = model.contributions(features)
    bad = checked.bad
    if model.card.log:
        start, terms = _convert_to_unit(start, terms)
    total = np.where(bad, np.nan, start + sum(terms.values()))
    predictions = model.values(model.margin(features))[0]
    errors = checked.errors
    return ExplainedRows(
        pc.if_else(pa.array(bad), pa.scalar(None, predictions.type), predictions),
        pa.array([errors.get(place) for place in range(table.num_rows)], pa.string()),
        start,
        terms,
        total,
        features,
    )


def explain_row(model: TabularModel, row: Mapping[str, Any]) -> Explanation:
    """Explain the prediction of one row, given as raw values by column.

    Raises:
        InputError: a column is missing, or a value impossible.
    """
    explained = explain_rows(model, pa.table({name: [value] for name, value in row.items()}))
    if explained.errors[0].is_valid:
        raise InputError(f"input of {model.card.name}: row 1, {explained.errors[0].as_py()}")
    return Explanation(
        explained.predictions[0].as_py(),
        float(explained.start[0]),
        float(explained.total[0]),
        tuple(reasons_of(model, explained, 0)),
    )


def reasons_of(model: TabularModel, explained: ExplainedRows, place: int) -> list[Reason]:
    """The contributions of the features to one row's prediction, the largest first."""
    reasons = []
    for feature, amounts in explained.terms.items():
        amount = float(amounts[place])
        value = explained.values[feature][place].as_py()
        text = reason_text(
            model.card.reasons, feature, amount, value, average=model.card.averages[feature]
        )
        reasons.append(Reason(feature, amount, text))
    return sorted(reasons, key=lambda reason: (-abs(reason.amount), reason.feature))


def reason_text(
    reasons: Reasons, feature: str, amount: float, value: Any, *, average: float | str | None
) -> str:
    """Word a reason by the texts of the use case."""
    return reasons.texts.get(feature, reasons.text).format(
        amount=amount_text(reasons, amount),
        feature=feature,
        value=_format(value),
        average=_format(average),
    )


def amount_text(reasons: Reasons, amount: float) -> str:
    """An amount with its sign and unit: +$1 240."""
    number = f"{abs(amount):,.{reasons.decimals}f}".replace(",", " ")
    return f"{'-' if amount < 0 else '+'}{reasons.prefix}{number}{reasons.suffix}"


def _format(value: Any) -> str:
    if value is None:
        return "missing"
    return f"{value:,.4g}".replace(",", " ") if isinstance(value, float) else str(value)


def _convert_to_unit(
    start: Floats, parts: Mapping[str, Floats]
) -> tuple[Floats, dict[str, Floats]]:
    """Convert contributions to a logarithm into amounts of the value itself.

    The factors between start and value share their difference by the size of their logarithms
    (logarithmic mean, as in index theory): the amounts sum to it exactly, in whatever order.
    """
    logarithms = sum(parts.values(), np.zeros_like(start))
    begin = np.exp(start)
    steady = np.abs(logarithms) < _TINY
    mean = np.where(steady, begin, begin * np.expm1(logarithms) / np.where(steady, 1.0, logarithms))
    return begin, {name: amounts * mean for name, amounts in parts.items()}
