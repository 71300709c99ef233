"""The candidates of a training: searched, and the best one trained and judged."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from scorestream.infra.errors import TrainingError
from scorestream.tabular.model.families import Floats
from scorestream.tabular.model.trained_model import TabularModel
from scorestream.tabular.training.data.large_table import learns_in_spark
from scorestream.tabular.training.evaluation import evaluate
from scorestream.tabular.training.search.context import Training
from scorestream.tabular.training.search.distributed import learn_in_spark, single
from scorestream.tabular.training.search.hyperparameters import (
    Found,
    judged,
    repeated,
    search_candidate,
)
from scorestream.tabular.training.search.learning import Learner
from scorestream.tabular.training.search.selection import fitted_weights, mean_losses

BLEND: Final = "blend"


@dataclass(frozen=True)
class Trained:
    """The best candidate, and how it was judged.

    Attributes:
        model: that will be registered.
        judged: the same without the held-out rows, unless `model` is without them, too.
        margins: of `judged` for the held-out rows.
        metrics: of them.
        repeats: metrics by repeated cross-validation.
    """

    found: Found
    model: TabularModel
    judged: TabularModel
    margins: Floats
    metrics: Mapping[str, float]
    repeats: Mapping[str, float]


def searched(training: Training) -> Iterator[Found]:
    """Each candidate with its best parameters, then the blend of some, if there is one."""
    use_case, members = training.use_case, dict[str, Found]()
    for name, candidate in use_case.candidates.items():
        found = search_candidate(name, candidate, training.card, training.learned, use_case.search)
        members[name] = found
        yield found
    if use_case.blend:
        learner = _blend(training, [members[name] for name in use_case.blend])
        yield judged(learner, training.card, training.learned, use_case.search)


def _blend(training: Training, members: Sequence[Found]) -> Learner:
    """Candidates as one; with fitted weights those without any are left out."""
    learners = [found.learner.members[0] for found in members]
    if training.use_case.blending == "mean":
        return Learner(BLEND, tuple(learners))
    margins = [found.margins for found in members]
    weights = fitted_weights(training.card, training.learned.truth, margins, training.metrics)
    used = [(one, weight) for one, weight in zip(learners, weights, strict=True) if weight]
    return Learner(BLEND, tuple(one for one, _ in used), tuple(weight for _, weight in used))


def best_first(training: Training, found: Sequence[Found]) -> list[Found]:
    """Candidates in the order of their metric, or metrics, by cross-validation.

    Those that lack one are last.

    Raises:
        TrainingError: none has it, though the truth is known.
    """
    metric = training.metric
    if training.card.task != "anomaly" and all(math.isnan(one.value) for one in found):
        raise TrainingError(
            f"search.metric: no candidate has a {metric.name}: it is not defined for these rows, "
            "or they predict no finite numbers: take another, or mend the candidates"
        )
    losses = mean_losses([one.metrics for one in found], training.metrics)
    order = sorted(range(len(found)), key=lambda i: (math.isnan(losses[i]), losses[i]))
    return [found[i] for i in order]


def train_best(training: Training, ranked: Sequence[Found]) -> Trained:
    """Train the best candidate, of more rows than one process holds in Spark; then judge it."""
    best, seed, card = ranked[0], training.seed, training.card
    large = training.source.large
    if large is not None:
        best = single(_first_for_spark(training, ranked))
    model = best.learner.learn(card, training.learned, seed)
    if large is not None:
        model = learn_in_spark(training.use_case, card, best, model, large)
    refit = training.use_case.refit and large is None
    margins = model.margin(training.held.features)
    return Trained(
        best,
        best.learner.learn(card, training.examples, seed) if refit else model,
        model,
        margins,
        evaluate(card, training.held.truth, margins),
        repeated(best.learner, card, training.learned, training.use_case.search),
    )


def _first_for_spark(training: Training, ranked: Sequence[Found]) -> Found:
    return next(f for f in ranked if learns_in_spark(training.use_case, f.learner.name))
