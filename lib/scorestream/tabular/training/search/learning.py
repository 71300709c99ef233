"""Fits a candidate's encoders and model families to examples, once or in cross-validation."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from sklearn.model_selection import KFold, StratifiedKFold

from scorestream.infra.errors import TrainingError
from scorestream.tabular.model.config import Candidate, Column, LabelType
from scorestream.tabular.model.families import FAMILIES, FitOptions, Floats
from scorestream.tabular.model.preprocessing import fit_preparation
from scorestream.tabular.model.trained_model import ModelCard, Part, TabularModel
from scorestream.tabular.training.config.sections import Search
from scorestream.tabular.training.config.use_case import UseCase
from scorestream.tabular.training.data.hashing import Hashes, row_hashes, shares
from scorestream.tabular.training.evaluation import evaluate

RowIndices = npt.NDArray[np.int64]
Fold = tuple[RowIndices, RowIndices]
Params = Mapping[str, Any]
SEED_STEP: Final = 1_000


@dataclass(frozen=True)
class Examples:
    """Rows for training or evaluation.

    Attributes:
        features: checked columns and derived features.
        truth: values of the target, or indices of labels; for anomalies 1, 0, or NaN if unknown.
        groups: number of each row's group; rows of a group are never on both sides of a fold.
    """

    features: pa.Table
    truth: Floats
    groups: Hashes | None = None

    def take(self, places: RowIndices) -> Examples:
        """Some of the rows."""
        groups = None if self.groups is None else self.groups[places]
        return Examples(self.features.take(pa.array(places)), self.truth[places], groups)

    def where(self, flags: npt.NDArray[np.bool_]) -> Examples:
        """The rows of a mask."""
        return self.take(np.flatnonzero(flags))

    def __len__(self) -> int:
        """How many they are."""
        return len(self.truth)


@dataclass(frozen=True)
class Learner:
    """A candidate with its hyper-parameters, or a blend of several.

    Attributes:
        members: candidates and their parameters.
        weights: of each member; none: all the same.
    """

    name: str
    members: tuple[tuple[Candidate, Params], ...]
    weights: tuple[float, ...] = ()

    @property
    def params(self) -> dict[str, Any]:
        """All parameters, those of a blend with the number of the member before them."""
        if len(self.members) == 1:
            return dict(self.members[0][1])
        weighed = [
            {**params, "weight": weight} if self.weights else params
            for (_, params), weight in zip(self.members, self._weights, strict=True)
        ]
        return {f"{place}.{key}": v for place, p in enumerate(weighed) for key, v in p.items()}

    @property
    def _weights(self) -> tuple[float, ...]:
        return self.weights or (1 / len(self.members),) * len(self.members)

    def learn(self, card: ModelCard, examples: Examples, seed: int) -> TabularModel:
        """Train a model on the examples.

        Raises:
            TrainingError: the data or the parameters do not allow it.
        """
        parts: list[Part] = []
        for (candidate, params), weight in zip(self.members, self._weights, strict=True):
            merged = candidate.model_copy(update={"params": {**candidate.params, **params}})
            fitted_parts = _parts(card, merged, examples, seed)
            parts += [replace(p, weight=p.weight * weight) for p in fitted_parts]
        return TabularModel(_set_bounds(card, examples.truth), tuple(parts))


def build_card(use_case: UseCase, rows: pa.Table, labels: LabelType = "string") -> ModelCard:
    """Build the card of a model of checked training rows.

    Args:
        rows: with derived features.
        labels: the type of the labels in predictions.

    Raises:
        TrainingError: the target has fewer than two labels, or the logarithm of one is impossible.
    """
    return ModelCard(
        name=use_case.name,
        task=use_case.task,
        target=use_case.target.column,
        labels=_labels(use_case, rows),
        label_type=labels,
        anomalous=use_case.target.anomalous,
        flag=use_case.flag,
        log=use_case.target.log or use_case.task == "anomaly",
        # Placeholders: `Learner.learn` fills in the bounds of the rows that it trains on.
        within=(-np.inf, np.inf) if use_case.target.bounded else None,
        ids=use_case.ids,
        columns={name: _fill_values(c, rows[name]) for name, c in use_case.columns.items()},
        derived=use_case.derived,
        averages={name: _average(rows[name]) for name in use_case.features},
        reasons=use_case.reasons,
        similar=use_case.similar,
    )


def build_examples(card: ModelCard, rows: pa.Table, group: str | None = None) -> Examples:
    """Build examples from checked training rows with derived features.

    Args:
        card: of the model to be.
        rows: with the target.
        group: column of rows that belong together.

    Raises:
        TrainingError: a target of 0 or below shall be a logarithm.
    """
    groups = None if group is None else row_hashes(rows.select([group]))
    return Examples(rows.select([*card.columns, *card.derived]), _truth(card, rows), groups)


def _truth(card: ModelCard, rows: pa.Table) -> Floats:
    target = rows[card.target]
    if card.task == "classification":
        return np.asarray(pc.index_in(target, pa.array(card.labels)).cast(pa.float64()))
    if card.task == "anomaly":
        is_anomalous = pc.is_in(target, pa.array(card.anomalous, pa.string())).cast(pa.float64())
        return np.where(np.asarray(target.is_null()), np.nan, np.asarray(is_anomalous))
    truth = np.asarray(target)
    if card.log and truth.min() <= 0:
        raise TrainingError(
            f"column {card.target}: target.log needs values above 0, the least is {truth.min():g}: "
            "set target.min"
        )
    return truth


def split_folds(examples: Examples, card: ModelCard, folds: int, seed: int) -> list[Fold]:
    """Split examples into folds: row indices for training and for evaluation.

    Raises:
        TrainingError: too few rows, groups, or rows of a label.
    """
    if examples.groups is not None:
        return _group_folds(examples.groups, folds, seed)
    strata = examples.truth if card.task == "classification" else None
    kind = KFold if strata is None else StratifiedKFold
    least = len(examples) if strata is None else int(np.unique(strata, return_counts=True)[1].min())
    if least < folds:
        unit = "rows" if strata is None else "rows of a label"
        raise TrainingError(f"search.folds is {folds}, and there are only {least} {unit}")
    splitter = kind(folds, shuffle=True, random_state=seed)
    return list(splitter.split(np.empty(len(examples)), strata))


def _group_folds(groups: Hashes, folds: int, seed: int) -> list[Fold]:
    """Folds of whole groups, by the hash of the group."""
    fold = (shares(groups, seed) * folds).astype(np.int64)
    if len(np.unique(fold)) < folds:
        raise TrainingError(f"search.folds is {folds}, and there are too few groups for them")
    return [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(folds)]


def cross_validate(
    learner: Learner,
    card: ModelCard,
    examples: Examples,
    search: Search,
    *,
    seed: int,
) -> tuple[Floats, list[dict[str, float]]]:
    """Cross-validate: margins of each example by its fold's model, and metrics of each fold.

    Folds are trained in parallel, each in one thread; the result does not depend on the number of
    threads.

    Raises:
        TrainingError: too few rows, groups, or rows of a label for the folds; or training on them
            failed.
    """
    folds = split_folds(examples, card, search.folds, seed)

    def evaluate_fold(fold: Fold) -> Floats:
        model = learner.learn(card, examples.take(fold[0]), seed)
        return model.margin(examples.take(fold[1]).features)

    margins = _map_in_threads(evaluate_fold, folds, search.workers or os.cpu_count() or 1)
    shape = (len(examples), *margins[0].shape[1:])
    all_margins = np.full(shape, np.nan)
    metrics = []
    for (_, judge), margin in zip(folds, margins, strict=True):
        all_margins[judge] = margin
        metrics.append(evaluate(card, examples.truth[judge], margin))
    return all_margins, metrics


def _map_in_threads(
    work: Callable[[Fold], Floats], folds: Sequence[Fold], workers: int
) -> list[Floats]:
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(work, folds))


def _parts(card: ModelCard, candidate: Candidate, examples: Examples, seed: int) -> Iterator[Part]:
    """Fit one candidate; with `over`, first the candidate below it, then this to its residuals."""
    truth = _fit_target(card, examples.truth)
    below: tuple[Part, ...] = ()
    if candidate.over is not None:
        below = tuple(_parts(card, candidate.over, examples, seed))
        yield from below
        truth = truth - TabularModel(card, below).sum_parts(examples.features)
    preparation = fit_preparation(examples.features, card.columns, tuple(card.derived), candidate)
    encoded = preparation.encode(examples.features)
    for bag in range(candidate.bags):
        options = FitOptions(
            card.task,
            len(card.labels),
            candidate.params,
            seed + bag * SEED_STEP,
            _row_weights(candidate, examples.truth),
        )
        fitted = FAMILIES[candidate.family].fit(encoded, truth, options)
        yield Part(1 / candidate.bags, candidate.family, preparation, fitted)


def _set_bounds(card: ModelCard, truth: Floats) -> ModelCard:
    """Set the bounds of predictions to those of the training values."""
    if card.within is None:
        return card
    taught = _fit_target(card, truth)
    return card.model_copy(update={"within": (float(taught.min()), float(taught.max()))})


def _row_weights(candidate: Candidate, truth: Floats) -> Floats | None:
    """Weights of rows, 1 on average.

    Raises:
        TrainingError: a target of 0 or below has no such weight.
    """
    if not candidate.weigh:
        return None
    if truth.min() <= 0:
        raise TrainingError(
            f"weigh: needs a target above 0, the least is {truth.min():g}: set target.min"
        )
    weights = (truth / truth.max()) ** candidate.weigh
    return np.asarray(weights / weights.mean())


def _fit_target(card: ModelCard, truth: Floats) -> Floats:
    """The target as a family is fitted to it: its logarithm if configured, zeros for anomalies."""
    if card.task == "anomaly":
        return np.zeros(len(truth))
    return np.log(truth) if card.log else truth


def _labels(use_case: UseCase, rows: pa.Table) -> tuple[str, ...]:
    if use_case.task != "classification":
        return ()
    target = use_case.target
    present = sorted(pc.unique(rows[target.column]).to_pylist())
    if len(present) < 2:
        raise TrainingError(
            f"column {target.column}, rows 1 to {rows.num_rows}: all are {present[0]!r}: a "
            "classification needs rows of two labels"
        )
    labels = target.labels or tuple(present)
    lacking = sorted(set(labels) - set(present))
    if lacking:
        raise TrainingError(f"column {target.column}: no row is {lacking[0]!r}: mend target.labels")
    if target.positive is None:
        return labels
    if target.positive not in labels:
        raise TrainingError(f"column {target.column}: no row is {target.positive!r}")
    return (*(label for label in labels if label != target.positive), target.positive)


def _fill_values(column: Column, values: pa.ChunkedArray) -> Column:
    """Fill in the values of the training rows where none are configured."""
    if column.kind == "number" or column.values is not None:
        return column
    present = tuple(sorted(pc.unique(values.drop_null()).to_pylist()))
    return column.model_copy(update={"values": present}) if present else column


def _average(values: pa.ChunkedArray) -> float | str | None:
    present = values.drop_null()
    if not len(present):
        return None
    if pa.types.is_floating(values.type):
        return float(pc.mean(present).as_py())
    counts = pc.value_counts(present).to_pylist()
    return str(max(counts, key=lambda c: (c["counts"], c["values"]))["values"])
