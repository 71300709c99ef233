"""The search for hyper-parameters of one candidate, by Optuna over cross-validation."""

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
from scorestream.tabular.model.trained_model import Card
from scorestream.tabular.training.config.parts import Search
from scorestream.tabular.training.evaluation import evaluate
from scorestream.tabular.training.metrics import metric_of
from scorestream.tabular.training.search.learning import Examples, Learner, cross_validated

log = structlog.get_logger()


@dataclass(frozen=True)
class Found:
    """A candidate with the best hyper-parameters that were found.

    Attributes:
        value: of the metric that is searched by, over all folds.
        metrics: all of them, over all folds.
        margins: of each example by a model that has not learned it.
        trials: parameters and value of each trial.
    """

    learner: Learner
    value: float
    metrics: dict[str, float]
    margins: Floats
    trials: tuple[dict[str, Any], ...]


def search_candidate(
    name: str, candidate: Candidate, card: Card, examples: Examples, search: Search
) -> Found:
    """Search the space of a candidate; one without a space is only cross-validated.

    Trials learn without bags, which cost as many times more and change no order; the best one is
    then judged as it will be. The same examples and configuration give the same result.

    Raises:
        TrainingError: no trial gives a value, or the parameters are refused.
    """
    if not candidate.space:
        found = judged(Learner(name, ((candidate, {}),)), card, examples, search)
        return replace(found, trials=({"value": found.value},))
    metric = metric_of(card.task, search.metric)
    logging.getLogger("optuna").setLevel(logging.WARNING)
    sampler = optuna.samplers.TPESampler(seed=search.seed, n_startup_trials=8)
    study = optuna.create_study(
        direction="maximize" if metric.more_is_better else "minimize", sampler=sampler
    )
    study.enqueue_trial({key: _middle(space) for key, space in candidate.space.items()})
    best: list[Found] = []

    def attempt(trial: optuna.Trial) -> float:
        params = {key: _suggested(trial, key, space) for key, space in candidate.space.items()}
        single = candidate.model_copy(update={"bags": 1})
        found = judged(Learner(name, ((single, params),)), card, examples, search)
        log.debug("trial", candidate=name, number=trial.number, value=found.value)
        # One fold may lack what the metric needs: of such a trial nothing is known.
        known = not math.isnan(found.value)
        if known and (not best or metric.better(found.value, best[0].value)):
            best[:] = [found]
        return found.value

    study.optimize(attempt, n_trials=search.trials)
    if not best:
        raise TrainingError(f"candidates.{name}: no trial gives a {metric.name}: mend its space")
    [found] = best
    if candidate.bags > 1:
        params = found.learner.members[0][1]
        found = judged(Learner(name, ((candidate, params),)), card, examples, search)
    trials = tuple({"value": trial.value, **trial.params} for trial in study.trials)
    return replace(found, trials=trials)


def judged(learner: Learner, card: Card, examples: Examples, search: Search) -> Found:
    """A learner's metrics by cross-validation over the examples."""
    margins, _ = cross_validated(learner, card, examples, search, search.seed)
    metrics = evaluate(card, examples.truth, margins)
    return Found(learner, metrics.get(search.metric, float("nan")), metrics, margins, ())


def repeated(learner: Learner, card: Card, examples: Examples, search: Search) -> dict[str, float]:
    """Mean and deviation (`cv_…_mean`, `cv_…_sd`) of metrics over the folds of several shufflings.

    None of the shufflings is that of the search.
    """
    found: list[Mapping[str, float]] = []
    for repeat in range(1, search.repeats + 1):
        found += cross_validated(learner, card, examples, search, search.seed + repeat)[1]
    result: dict[str, float] = {}
    for name in found[0]:
        values = [metrics[name] for metrics in found if name in metrics]
        result |= {
            f"cv_{name}_mean": float(np.mean(values)),
            f"cv_{name}_sd": float(np.std(values)),
        }
    return result


def _middle(space: Range) -> Any:
    if space.choices is not None:
        return space.choices[0]
    assert space.low is not None and space.high is not None  # noqa: S101, PT018
    middle = float(np.sqrt(space.low * space.high)) if space.log else (space.low + space.high) / 2
    return round(middle) if _whole(space) else middle


def _suggested(trial: optuna.Trial, key: str, space: Range) -> Any:
    if space.choices is not None:
        return trial.suggest_categorical(key, list(space.choices))
    assert space.low is not None and space.high is not None  # noqa: S101, PT018
    if _whole(space):
        return trial.suggest_int(key, int(space.low), int(space.high), log=space.log)
    return trial.suggest_float(key, space.low, space.high, log=space.log)


def _whole(space: Range) -> bool:
    return isinstance(space.low, int) and isinstance(space.high, int)
