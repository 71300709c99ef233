"""The promotion decision: whether a model becomes the champion, by thresholds and comparisons."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from scorestream.infra.errors import ConfigurationError, ModelError, ScorestreamError
from scorestream.infra.mlflow.registry import RegisteredVersion, Registry
from scorestream.infra.mlflow.store import ModelStore
from scorestream.tabular.model.trained_model import TabularModel
from scorestream.tabular.registry.tracking import JUDGED, Run
from scorestream.tabular.training.config.sections import Guard
from scorestream.tabular.training.config.use_case import UseCase
from scorestream.tabular.training.data.datasets import Flags
from scorestream.tabular.training.data.hashing import row_hashes, unpack_hashes
from scorestream.tabular.training.data.splitting import MIN_ROWS, split_position
from scorestream.tabular.training.evaluation import evaluate
from scorestream.tabular.training.metrics import Metric
from scorestream.tabular.training.runs.run_log import (
    HASHES,
    SPARK,
    TRAINED_IN,
    read_use_case,
)
from scorestream.tabular.training.search.baselines import BaselineMetrics, compare_with_baseline
from scorestream.tabular.training.search.candidates import TrainedCandidate
from scorestream.tabular.training.search.training_context import TrainingContext


@dataclass(frozen=True)
class PromotionDecision:
    """Whether a model becomes the champion, and why.

    Attributes:
        champion: the one it was compared with; None if there was none.
    """

    is_promoted: bool
    reason: str
    champion: RegisteredVersion | None = None


def refuse_another_target(use_case: UseCase, store: ModelStore) -> None:
    """Refuse to train a use case whose champion predicts another target.

    Raises:
        ConfigurationError: the champion predicts something else.
        ModelError: the store failed.
    """
    champion = Registry(store).champion(use_case.name)
    if champion is None:
        return
    # A champion of another version, or of other code, is reported at the comparison.
    with suppress(ModelError):
        theirs = read_use_case(Run(store, champion.run_id))
        ours, other = ((u.task, u.target.column) for u in (use_case, theirs))
        if ours != other:
            raise ConfigurationError(
                f"champion {champion} predicts {other[1]!r} ({other[0]}), not {ours[1]!r} "
                f"({ours[0]}): give this model a name of its own (--set name=...)"
            )


def decide_promotion(
    context: TrainingContext,
    trained: TrainedCandidate,
    baselines: BaselineMetrics,
    store: ModelStore,
) -> PromotionDecision:
    """A model is promoted if it reaches the thresholds and beats the champion."""
    failed = [
        *context.use_case.thresholds.failures(trained.metrics),
        *_find_unbeaten(context, trained.metrics, baselines),
    ]
    if failed:
        return PromotionDecision(is_promoted=False, reason="; ".join(failed))
    champion = Registry(store).champion(context.use_case.name)
    if champion is None:
        return PromotionDecision(is_promoted=True, reason="there is no champion yet")
    try:
        return _compare_with_champion(context, trained, champion, Run(store, champion.run_id))
    except ScorestreamError as error:
        reason = f"champion {champion} cannot be compared: {error}"
        return PromotionDecision(is_promoted=False, reason=reason)


def confirm_decision(
    decision: PromotionDecision, use_case: UseCase, store: ModelStore
) -> PromotionDecision:
    """Confirm a decision, unless the champion has changed since the comparison.

    Raises:
        ModelError: the store failed.
    """
    now = Registry(store).champion(use_case.name)
    before = decision.champion and decision.champion.version
    if not decision.is_promoted or now is None or now.version == before:
        return decision
    compared = f"was compared with {decision.champion}" if before else "had no champion to beat"
    reason = f"{now} became the champion meanwhile, and this model {compared}"
    return PromotionDecision(is_promoted=False, reason=reason, champion=now)


def _find_unbeaten(
    context: TrainingContext, ours: Mapping[str, float], baselines: BaselineMetrics
) -> Iterator[str]:
    """Texts of the baselines that must be beaten, and are not."""
    if not context.use_case.thresholds.beats_baselines:
        return
    for name, theirs in baselines.items():
        comparison = compare_with_baseline(context.metric, ours, name, theirs)
        if not comparison.is_beaten:
            yield comparison.text


def _compare_with_champion(
    context: TrainingContext, trained: TrainedCandidate, champion: RegisteredVersion, run: Run
) -> PromotionDecision:
    """Compare with the champion on held-out rows that neither of them has learned."""
    other = run.read_model(JUDGED)
    cards = other.card, trained.judged.card
    if len({(card.task, card.target, card.labels) for card in cards}) > 1:
        reason = f"champion {champion} has another target, or other labels"
        return PromotionDecision(is_promoted=False, reason=reason)
    rows, good = _select_new_rows(champion, context, other, run)
    if good.sum() < MIN_ROWS:
        reason = (
            f"only {good.sum()} held-out rows are new to champion {champion} and can be predicted "
            "by it"
        )
        return PromotionDecision(is_promoted=False, reason=reason)
    ours = context.examples.where(good)
    theirs = replace(ours, features=other.features(rows.filter(pa.array(good))))
    metrics, their_metrics = (
        evaluate(model.card, examples.truth, model.margin(examples.features))
        for model, examples in ((trained.judged, ours), (other, theirs))
    )
    guards = {metric: context.use_case.guards[metric.name] for metric in context.metrics[1:]}
    is_better, texts = compare_metrics(context.metric, guards, metrics, their_metrics)
    where = f"of champion {champion} on {len(ours):,} held-out rows"
    reason = f"{texts[0]} {where}{''.join(f'; {text}' for text in texts[1:])}"
    return PromotionDecision(is_better, reason, champion)


def compare_metrics(
    metric: Metric,
    guards: Mapping[Metric, Guard],
    ours: Mapping[str, float],
    theirs: Mapping[str, float],
) -> tuple[bool, list[str]]:
    """Compare a challenger with the champion: it must win one metric and lose no guarded one.

    Returns:
        Whether it is better, and a text for each metric. A metric that is not defined for the rows
        counts as lost.
    """
    value, other = (m.get(metric.name, math.nan) for m in (ours, theirs))
    is_better = metric.better(value, other)
    texts = [f"{metric.name} {value:.6g} {'beats' if is_better else 'does not beat'} {other:.6g}"]
    for guarded, guard in guards.items():
        name = guarded.name
        value, other = (m.get(name, math.nan) for m in (ours, theirs))
        holds = guarded.loss(value) - guarded.loss(other) <= guard.tolerance
        allowed = f", {guard.tolerance:g} may be lost" if guard.tolerance else ""
        texts.append(
            f"{name} {value:.6g} {'holds' if holds else 'loses'} against {other:.6g}{allowed}"
        )
        is_better = is_better and holds
    return is_better, texts


def _select_new_rows(
    champion: RegisteredVersion, context: TrainingContext, other: TabularModel, run: Run
) -> tuple[pa.Table, Flags]:
    """Rows with the champion's columns, and which are held out, new to it and good for it."""
    # From the raw rows: the champion may have other columns than ours, or other types.
    checked = other.check(context.source.rows.filter(pa.array(context.data.of_source)))
    target = context.data.rows[other.card.target]
    learned = _find_learned(checked.rows.append_column(other.card.target, target), champion, run)
    return checked.rows, context.data.held_out & ~checked.bad & ~learned


def _find_learned(rows: pa.Table, champion: RegisteredVersion, run: Run) -> Flags:
    """Find the rows, with the champion's columns and target, that it was trained on."""
    if champion.tags.get(TRAINED_IN) != SPARK:
        return np.isin(row_hashes(rows), unpack_hashes(run.read_file(HASHES)))
    # The rows of a table larger than memory are not recorded: its split tells them.
    theirs = read_use_case(run)
    return np.asarray(split_position(rows, theirs) >= theirs.split.held_out)
