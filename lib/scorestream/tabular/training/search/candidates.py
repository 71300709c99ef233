"""The candidates of a training: search them, rank them, train and evaluate the best one."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from scorestream.infra.errors import TrainingError
from scorestream.tabular.model.families import Floats
from scorestream.tabular.model.trained_model import TabularModel
from scorestream.tabular.training.data.large_table import can_learn_in_spark
from scorestream.tabular.training.evaluation import evaluate
from scorestream.tabular.training.search.distributed import train_in_spark, without_bags
from scorestream.tabular.training.search.hyperparameters import (
    SearchResult,
    cross_validate_learner,
    repeat_cross_validation,
    search_candidate,
)
from scorestream.tabular.training.search.learning import Learner
from scorestream.tabular.training.search.selection import compute_mean_losses, fit_weights
from scorestream.tabular.training.search.training_context import TrainingContext

BLEND: Final = "blend"


@dataclass(frozen=True)
class TrainedCandidate:
    """The best candidate, trained and evaluated.

    Attributes:
        result: its result in the search.
        model: the model to register.
        judged: the model that was evaluated, trained without the held-out rows; the same as `model`
            if that is not refitted.
        margins: of `judged` for the held-out rows.
        metrics: of `judged` on the held-out rows.
        repeats: metrics by repeated cross-validation.
    """

    result: SearchResult
    model: TabularModel
    judged: TabularModel
    margins: Floats
    metrics: Mapping[str, float]
    repeats: Mapping[str, float]


def search_candidates(context: TrainingContext) -> Iterator[SearchResult]:
    """Search each candidate, then cross-validate the blend, if there is one."""
    use_case, members = context.use_case, dict[str, SearchResult]()
    for name, candidate in use_case.candidates.items():
        members[name] = search_candidate(
            name, candidate, context.card, context.training_examples, search=use_case.search
        )
        yield members[name]
    if use_case.blend:
        learner = _blend(context, [members[name] for name in use_case.blend])
        yield cross_validate_learner(
            learner, context.card, context.training_examples, use_case.search
        )


def _blend(context: TrainingContext, members: Sequence[SearchResult]) -> Learner:
    """Blend candidates; with fitted weights, members of weight 0 are left out."""
    learners = [member.learner.members[0] for member in members]
    if context.use_case.blending == "mean":
        return Learner(BLEND, tuple(learners))
    margins = [member.margins for member in members]
    weights = fit_weights(context.card, context.training_examples.truth, margins, context.metrics)
    used = [(one, weight) for one, weight in zip(learners, weights, strict=True) if weight]
    return Learner(BLEND, tuple(one for one, _ in used), tuple(weight for _, weight in used))


def rank_candidates(
    context: TrainingContext, results: Sequence[SearchResult]
) -> list[SearchResult]:
    """Rank candidates by their cross-validated metric, or metrics, the best first.

    Candidates without a metric are last.

    Raises:
        TrainingError: no candidate has the metric, though the truth is known.
    """
    metric = context.metric
    if context.card.task != "anomaly" and all(math.isnan(one.value) for one in results):
        raise TrainingError(
            f"search.metric: no candidate has a {metric.name}: it is not defined for these rows, "
            "or they predict no finite numbers: take another, or mend the candidates"
        )
    losses = compute_mean_losses([one.metrics for one in results], context.metrics)
    order = sorted(range(len(results)), key=lambda i: (math.isnan(losses[i]), losses[i]))
    return [results[i] for i in order]


def train_best(context: TrainingContext, ranked: Sequence[SearchResult]) -> TrainedCandidate:
    """Train the best candidate, in Spark if one process cannot hold the rows; then evaluate it."""
    best, seed, card = ranked[0], context.seed, context.card
    large = context.source.large
    if large is not None:
        best = without_bags(_select_for_spark(context, ranked))
    model = best.learner.learn(card, context.training_examples, seed)
    if large is not None:
        model = train_in_spark(context.use_case, card, best, model, table=large)
    refit = context.use_case.refit and large is None
    margins = model.margin(context.held_out_examples.features)
    return TrainedCandidate(
        best,
        best.learner.learn(card, context.examples, seed) if refit else model,
        model,
        margins,
        evaluate(card, context.held_out_examples.truth, margins),
        repeat_cross_validation(
            best.learner, card, context.training_examples, context.use_case.search
        ),
    )


def _select_for_spark(context: TrainingContext, ranked: Sequence[SearchResult]) -> SearchResult:
    return next(f for f in ranked if can_learn_in_spark(context.use_case, f.learner.name))
