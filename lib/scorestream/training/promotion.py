"""Whether a model serves from now on: thresholds, baselines, and the champion before it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from scorestream.errors import ScorestreamError
from scorestream.io.mlflow.registry import Registered, Registry
from scorestream.io.mlflow.store import ModelStore
from scorestream.io.mlflow.tracking import JUDGED, Run, unpacked_hashes
from scorestream.training.baselines import Rivals, against
from scorestream.training.candidates import Trained
from scorestream.training.datasets import Flags
from scorestream.training.evaluation import evaluate, failures
from scorestream.training.learning import Examples
from scorestream.training.model import TabularModel
from scorestream.training.run_log import HASHES
from scorestream.training.splitting import LEAST_ROWS
from scorestream.training.subject import Training


@dataclass(frozen=True)
class Verdict:
    """Whether a model serves from now on, and why or why not."""

    promoted: bool
    reason: str


def verdict_on(training: Training, trained: Trained, rivals: Rivals, store: ModelStore) -> Verdict:
    """A model is promoted if it reaches the thresholds and beats the champion."""
    failed = [
        *failures(trained.metrics, training.use_case.thresholds.bounds),
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
    if other.card.labels != trained.judged.card.labels:
        return Verdict(False, f"champion {champion} has other labels")
    unseen = _unseen(training, run)
    checked = other.check(training.data.rows.filter(pa.array(unseen)))
    good = ~checked.bad
    if good.sum() < LEAST_ROWS:
        return Verdict(
            False,
            f"only {good.sum()} held-out rows are new to champion {champion} and can be predicted "
            "by it",
        )
    ours = training.examples.where(unseen).where(good)
    theirs = replace(ours, features=other.features(checked.rows).filter(pa.array(good)))
    value, their_value = (
        _value(training, model, examples)
        for model, examples in ((trained.judged, ours), (other, theirs))
    )
    name, better = training.metric.name, training.metric.better(value, their_value)
    return Verdict(
        better,
        f"{name} {value:.6g} {'beats' if better else 'does not beat'} {their_value:.6g} "
        f"of champion {champion} on {len(ours):,} held-out rows",
    )


def _unseen(training: Training, run: Run) -> Flags:
    """The held-out rows that the model of another run has not learned."""
    learned = unpacked_hashes(run.read_file(HASHES))
    return training.data.held_out & ~np.isin(training.data.hashes, learned)


def _value(training: Training, model: TabularModel, examples: Examples) -> float:
    """A model's metric; not a number where it is not defined."""
    metrics = evaluate(model.card, examples.truth, model.margin(examples.features))
    return metrics.get(training.metric.name, float("nan"))
