"""Whether a model serves from now on: thresholds, baselines, and the champion before it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from scorestream.infra.errors import ConfigurationError, ModelError, ScorestreamError
from scorestream.infra.mlflow.registry import Registered, Registry
from scorestream.infra.mlflow.store import ModelStore
from scorestream.tabular.model.trained_model import TabularModel
from scorestream.tabular.registry.tracking import JUDGED, Run
from scorestream.tabular.training.config.parts import Guard
from scorestream.tabular.training.config.use_case import UseCase
from scorestream.tabular.training.data.datasets import Flags
from scorestream.tabular.training.data.hashing import row_hashes, unpacked_hashes
from scorestream.tabular.training.data.splitting import MIN_ROWS, place_of
from scorestream.tabular.training.evaluation import evaluate
from scorestream.tabular.training.metrics import Metric
from scorestream.tabular.training.runs.run_log import (
    HASHES,
    SPARK,
    TRAINED_IN,
    noted_use_case,
)
from scorestream.tabular.training.search.baselines import Rivals, against
from scorestream.tabular.training.search.candidates import Trained
from scorestream.tabular.training.search.context import Training


@dataclass(frozen=True)
class Verdict:
    """Whether a model serves from now on, and why or why not.

    Attributes:
        champion: that it was compared with; None where there was none.
    """

    promoted: bool
    reason: str
    champion: Registered | None = None


def refuse_another_target(use_case: UseCase, store: ModelStore) -> None:
    """Refuse to train what could not take the place of the champion of this name.

    Raises:
        ConfigurationError: it predicts something else.
        ModelError: the store failed.
    """
    champion = Registry(store).champion(use_case.name)
    if champion is None:
        return
    # What is not of this version, or not ours, is told at the comparison.
    with suppress(ModelError):
        theirs = noted_use_case(Run(store, champion.run_id))
        ours, other = ((u.task, u.target.column) for u in (use_case, theirs))
        if ours != other:
            raise ConfigurationError(
                f"champion {champion} predicts {other[1]!r} ({other[0]}), not {ours[1]!r} "
                f"({ours[0]}): give this model a name of its own (--set name=...)"
            )


def verdict_on(training: Training, trained: Trained, rivals: Rivals, store: ModelStore) -> Verdict:
    """A model is promoted if it reaches the thresholds and beats the champion."""
    failed = [
        *training.use_case.thresholds.failures(trained.metrics),
        *_unbeaten(training, trained.metrics, rivals),
    ]
    if failed:
        return Verdict(False, "; ".join(failed))
    champion = Registry(store).champion(training.use_case.name)
    if champion is None:
        return Verdict(True, "there is no champion yet")
    try:
        return _compared(training, trained, champion, Run(store, champion.run_id))
    except ScorestreamError as error:
        return Verdict(False, f"champion {champion} cannot be compared: {error}")


def unless_replaced(verdict: Verdict, use_case: UseCase, store: ModelStore) -> Verdict:
    """A verdict, unless another champion serves now than the one that was compared.

    Raises:
        ModelError: the store failed.
    """
    now = Registry(store).champion(use_case.name)
    before = verdict.champion and verdict.champion.version
    if not verdict.promoted or now is None or now.version == before:
        return verdict
    compared = f"was compared with {verdict.champion}" if before else "had no champion to beat"
    return Verdict(False, f"{now} became the champion meanwhile, and this model {compared}", now)


def _unbeaten(training: Training, ours: Mapping[str, float], rivals: Rivals) -> Iterator[str]:
    """Baselines that shall be beaten, and are not."""
    if not training.use_case.thresholds.beats_baselines:
        return
    for name, theirs in rivals.items():
        found = against(training.metric, ours, name, theirs)
        if not found.beaten:
            yield found.told


def _compared(training: Training, trained: Trained, champion: Registered, run: Run) -> Verdict:
    """Compare with the champion on held-out rows that neither of them has learned."""
    other = run.read_model(JUDGED)
    cards = other.card, trained.judged.card
    if len({(card.task, card.target, card.labels) for card in cards}) > 1:
        return Verdict(False, f"champion {champion} has another target, or other labels")
    rows, good = _new_to(champion, training, other, run)
    if good.sum() < MIN_ROWS:
        return Verdict(
            False,
            f"only {good.sum()} held-out rows are new to champion {champion} and can be predicted "
            "by it",
        )
    ours = training.examples.where(good)
    theirs = replace(ours, features=other.features(rows.filter(pa.array(good))))
    metrics, their_metrics = (
        evaluate(model.card, examples.truth, model.margin(examples.features))
        for model, examples in ((trained.judged, ours), (other, theirs))
    )
    guards = {metric: training.use_case.guards[metric.name] for metric in training.metrics[1:]}
    better, told = compared(training.metric, guards, metrics, their_metrics)
    where = f"of champion {champion} on {len(ours):,} held-out rows"
    return Verdict(
        better, f"{told[0]} {where}{''.join(f'; {text}' for text in told[1:])}", champion
    )


def compared(
    metric: Metric,
    guards: Mapping[Metric, Guard],
    ours: Mapping[str, float],
    theirs: Mapping[str, float],
) -> tuple[bool, list[str]]:
    """Whether a challenger is better than the champion by one metric, and loses by no other.

    Returns:
        That, and what each metric says. One that is not defined for the rows is lost.
    """
    value, other = (m.get(metric.name, math.nan) for m in (ours, theirs))
    better = metric.better(value, other)
    told = [f"{metric.name} {value:.6g} {'beats' if better else 'does not beat'} {other:.6g}"]
    for guarded, guard in guards.items():
        name = guarded.name
        value, other = (m.get(name, math.nan) for m in (ours, theirs))
        kept = guarded.loss(value) - guarded.loss(other) <= guard.tolerance
        allowed = f", {guard.tolerance:g} may be lost" if guard.tolerance else ""
        told.append(
            f"{name} {value:.6g} {'holds' if kept else 'loses'} against {other:.6g}{allowed}"
        )
        better = better and kept
    return better, told


def _new_to(
    champion: Registered, training: Training, other: TabularModel, run: Run
) -> tuple[pa.Table, Flags]:
    """The rows with a champion's columns; and which are held out, new to it, and not bad for it."""
    # As they came: what it was taught may be no column of ours, or typed otherwise.
    checked = other.check(training.source.rows.filter(pa.array(training.data.of_source)))
    target = training.data.rows[other.card.target]
    learned = _learned(checked.rows.append_column(other.card.target, target), champion, run)
    return checked.rows, training.data.held_out & ~checked.bad & ~learned


def _learned(rows: pa.Table, champion: Registered, run: Run) -> Flags:
    """Which rows, of a champion's columns and target, it has learned."""
    if champion.tags.get(TRAINED_IN) != SPARK:
        return np.isin(row_hashes(rows), unpacked_hashes(run.read_file(HASHES)))
    # Of a table that no process holds nobody notes the rows: all that its split gave it.
    theirs = noted_use_case(run)
    return np.asarray(place_of(rows, theirs) >= theirs.split.held_out)
