"""`train_model`: a use case from its data to a registered model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

from scorestream.infra.config.settings import Settings
from scorestream.infra.delta.table import Catalog
from scorestream.infra.delta.warehouse import Warehouse
from scorestream.infra.mlflow.registry import Registered, Registry
from scorestream.infra.mlflow.store import ModelStore
from scorestream.infra.storage.locks import exclusive_lock
from scorestream.infra.version import code_version
from scorestream.tabular.registry.tracking import Run, started_run
from scorestream.tabular.training.config.load import load_use_case
from scorestream.tabular.training.data.datasets import choose_source
from scorestream.tabular.training.runs.console import (
    tell_candidate,
    tell_metrics,
    tell_registered,
    tell_rows,
    tell_verdict,
)
from scorestream.tabular.training.runs.promotion_decision import (
    Verdict,
    refuse_another_target,
    unless_replaced,
    verdict_on,
)
from scorestream.tabular.training.runs.run_log import (
    PROCESS,
    SPARK,
    TRAINED_IN,
    log_baselines,
    log_candidate,
    log_start,
    log_trained,
)
from scorestream.tabular.training.search.baselines import baseline_metrics
from scorestream.tabular.training.search.candidates import (
    Trained,
    best_first,
    searched,
    train_best,
)
from scorestream.tabular.training.search.context import Training
from scorestream.tabular.training.search.hyperparameters import Found


@dataclass(frozen=True)
class TrainOptions:
    """Options of a training, as the command line gives them.

    Attributes:
        data: instead of the configured or kept data.
        append: rows that are kept, and trained with those before.
        changes: `key=value` for the configuration.
    """

    config: Path
    data: str | None = None
    append: str | None = None
    changes: tuple[str, ...] = ()


def train_model(options: TrainOptions, settings: Settings, catalog: Catalog) -> None:
    """Train a use case, register the best candidate, and promote it if it deserves that.

    Args:
        options: what to train, from which rows.
        settings: where the warehouse and the store of models are.
        catalog: the tables and views that a use case may select from.

    Raises:
        ConfigurationError: the use case's file is wrong, or of another target than the champion.
        InputError: the data cannot be read, or lack a column.
        TrainingError: they cannot be learned from.
        ModelError: the store of models failed.
    """
    use_case = load_use_case(options.config, options.changes)
    store = ModelStore.of(settings)
    lock = f"{settings.warehouse}/_checkpoints/train-{use_case.name}"
    # Threads of linear algebra and of trees within threads of ours cost more than they bring.
    with exclusive_lock(lock, "wait for it"), threadpool_limits(1):
        refuse_another_target(use_case, store)
        warehouse = Warehouse(settings.warehouse, catalog)
        source = choose_source(
            use_case, options.config, options.data, options.append, settings, warehouse
        )
        training = Training.of(use_case, source)
        tell_rows(training)
        title = f"{use_case.name} {training.data.totals.data_version}"
        with started_run(store, use_case.name, title) as run:
            _train(run, training)


def _train(run: Run, training: Training) -> None:
    """The steps of a training, all noted in its run.

    1. search each candidate by cross-validation over the rows that are not held out
    2. train the best by cross-validation, and judge it and the baselines on the held-out rows
    3. compare it with the champion on the held-out rows
    4. keep its files, which takes time in which another may have become the champion
    5. register it, and promote it or let it be the challenger
    """
    log_start(run, training)
    # 1.
    ranked = _ranked(run, training)
    # 2.
    trained = train_best(training, ranked)
    log_trained(run, training, trained)
    rivals = baseline_metrics(training)
    log_baselines(run, training, rivals)
    # 3.
    verdict = verdict_on(training, trained, rivals, run.store)
    # 4.
    uri = run.log_model(trained.model, training.source.rows)
    verdict = unless_replaced(verdict, training.use_case, run.store)
    # 5.
    model = _register(run, training, trained, verdict, uri)
    tell_metrics(ranked, trained, rivals)
    tell_verdict(training, trained, rivals)
    tell_registered(model, verdict)


def _ranked(run: Run, training: Training) -> Sequence[Found]:
    """The candidates, the best first; each has its own run."""
    found = []
    for one in searched(training):
        tell_candidate(training, one)
        log_candidate(run, training, one)
        found.append(one)
    return best_first(training, found)


def _register(
    run: Run, training: Training, trained: Trained, verdict: Verdict, uri: str
) -> Registered:
    use_case, totals, registry = training.use_case, training.data.totals, Registry(run.store)
    tags: dict[str, Any] = {
        "use_case": use_case.name,
        "candidate": trained.found.learner.name,
        "data_version": totals.data_version,
        "rows": totals.rows,
        TRAINED_IN: SPARK if training.source.large is not None else PROCESS,
        "code_version": code_version(),
        "verdict": verdict.reason,
        **{f"metric.{name}": f"{value:.6g}" for name, value in trained.metrics.items()},
    }
    named = {key: str(value) for key, value in tags.items()}
    model = registry.register(use_case.name, uri, run.run_id, use_case.description, named)
    run.log_tags({"model_version": str(model.version), "verdict": verdict.reason})
    if verdict.promoted:
        registry.promote(model)
    else:
        registry.challenge(model)
    return model
