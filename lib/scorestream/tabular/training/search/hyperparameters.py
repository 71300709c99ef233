"""Hyper-parameter search for one candidate: Optuna over cross-validation."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import optuna
import structlog

from scorestream.infra.errors import TrainingError
from scorestream.tabular.model.config import Candidate, Range
from scorestream.tabular.model.families import Floats
from scorestream.tabular.model.trained_model import ModelCard
from scorestream.tabular.training.config.sections import Search
from scorestream.tabular.training.evaluation import evaluate
from scorestream.tabular.training.metrics import metric_of
from scorestream.tabular.training.search.learning import Examples, Learner, cross_validate

log = structlog.get_logger()


@dataclass(frozen=True)
class SearchResult:
    """A candidate with its best hyper-parameters.

    Attributes:
        value: of the search metric, over all folds.
        metrics: all metrics, over all folds.
        margins: of each example, by the fold's model that was not trained on it.
        trials: parameters and value of each trial.
    """

    learner: Learner
    value: float
    metrics: dict[str, float]
    margins: Floats
    trials: tuple[dict[str, Any], ...]


def search_candidate(
    name: str, candidate: Candidate, card: ModelCard, examples: Examples, *, search: Search
) -> SearchResult:
    """Search the space of a candidate; one without a space is only cross-validated.

    Trials train a single bag: more bags multiply the cost, and change no order. The best trial is
    then cross-validated with all bags. The same examples and configuration give the same result.

    Raises:
        TrainingError: no trial gives a value, or the parameters are refused.
    """
    if not candidate.space:
        searched = cross_validate_learner(Learner(name, ((candidate, {}),)), card, examples, search)
        return replace(searched, trials=({"value": searched.value},))
    metric = metric_of(card.task, search.metric)
    logging.getLogger("optuna").setLevel(logging.WARNING)
    sampler = optuna.samplers.TPESampler(seed=search.seed, n_startup_trials=8)
    study = optuna.create_study(
        direction="maximize" if metric.more_is_better else "minimize", sampler=sampler
    )
    study.enqueue_trial({key: _choose_middle(space) for key, space in candidate.space.items()})
    best: list[SearchResult] = []

    def attempt(trial: optuna.Trial) -> float:
        params = {key: _suggest(trial, key, space) for key, space in candidate.space.items()}
        single = candidate.model_copy(update={"bags": 1})
        searched = cross_validate_learner(
            Learner(name, ((single, params),)), card, examples, search
        )
        log.debug("trial", candidate=name, number=trial.number, value=searched.value)
        # One fold may lack what the metric needs: of such a trial nothing is known.
        known = not math.isnan(searched.value)
        if known and (not best or metric.better(searched.value, best[0].value)):
            best[:] = [searched]
        return searched.value

    study.optimize(attempt, n_trials=search.trials)
    if not best:
        raise TrainingError(f"candidates.{name}: no trial gives a {metric.name}: mend its space")
    [searched] = best
    if candidate.bags > 1:
        params = searched.learner.members[0][1]
        searched = cross_validate_learner(
            Learner(name, ((candidate, params),)), card, examples, search
        )
    trials = tuple({"value": trial.value, **trial.params} for trial in study.trials)
    return replace(searched, trials=trials)


def cross_validate_learner(
    learner: Learner, card: ModelCard, examples: Examples, search: Search
) -> SearchResult:
    """Cross-validate a learner over the examples."""
    margins, _ = cross_validate(learner, card, examples, search, seed=search.seed)
    metrics = evaluate(card, examples.truth, margins)
    return SearchResult(learner, metrics.get(search.metric, float("nan")), metrics, margins, ())


def repeat_cross_validation(
    learner: Learner, card: ModelCard, examples: Examples, search: Search
) -> dict[str, float]:
    """Cross-validate several times, each with other folds than the search had.

    Returns:
        Mean and deviation of each metric over all folds: `cv_…_mean`, `cv_…_sd`.
    """
    folds: list[Mapping[str, float]] = []
    for repeat in range(1, search.repeats + 1):
        folds += cross_validate(learner, card, examples, search, seed=search.seed + repeat)[1]
    result: dict[str, float] = {}
    for name in folds[0]:
        values = [metrics[name] for metrics in folds if name in metrics]
        result |= {
            f"cv_{name}_mean": float(np.mean(values)),
            f"cv_{name}_sd": float(np.std(values)),
        }
    return result


def _choose_middle(space: Range) -> Any:
    if space.choices is not None:
        return space.choices[0]
    assert space.low is not None and space.high is not None  # noqa: S101, PT018
    middle = float(np.sqrt(space.low * space.high)) if space.log else (space.low + space.high) / 2
    return round(middle) if _is_integer(space) else middle


def _suggest(trial: optuna.Trial, key: str, space: Range) -> Any:
    if space.choices is not None:
        return trial.suggest_categorical(key, list(space.choices))
    assert space.low is not None and space.high is not None  # noqa: S101, PT018
    if _is_integer(space):
        return trial.suggest_int(key, int(space.low), int(space.high), log=space.log)
    return trial.suggest_float(key, space.low, space.high, log=space.log)


def _is_integer(space: Range) -> bool:
    return isinstance(space.low, int) and isinstance(space.high, int)
