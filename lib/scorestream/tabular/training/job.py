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
from scorestream.infra.mlflow.registry import RegisteredVersion, Registry
from scorestream.infra.mlflow.store import ModelStore
from scorestream.infra.storage.locks import exclusive_lock
from scorestream.infra.version import code_version
from scorestream.tabular.registry.tracking import Run, start_run
from scorestream.tabular.training.config.load import load_use_case
from scorestream.tabular.training.data.datasets import choose_source
from scorestream.tabular.training.runs.console import (
    log_dataset,
    log_search_result,
    print_comparisons,
    print_decision,
    print_metrics,
)
from scorestream.tabular.training.runs.promotion_decision import (
    PromotionDecision,
    confirm_decision,
    decide_promotion,
    refuse_another_target,
)
from scorestream.tabular.training.runs.run_log import (
    PROCESS,
    SPARK,
    TRAINED_IN,
    log_baselines,
    log_best_candidate,
    log_candidate,
    log_context,
)
from scorestream.tabular.training.search.baselines import evaluate_baselines
from scorestream.tabular.training.search.candidates import (
    TrainedCandidate,
    rank_candidates,
    search_candidates,
    train_best,
)
from scorestream.tabular.training.search.hyperparameters import SearchResult
from scorestream.tabular.training.search.training_context import TrainingContext


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
            use_case,
            options.config,
            options.data,
            options.append,
            settings=settings,
            warehouse=warehouse,
        )
        context = TrainingContext.of(use_case, source)
        log_dataset(context)
        title = f"{use_case.name} {context.data.totals.data_version}"
        with start_run(store, use_case.name, title) as run:
            _train(run, context)


def _train(run: Run, context: TrainingContext) -> None:
    """Run the steps of a training, and log each in its MLflow run.

    1. Search each candidate by cross-validation over the training rows.
    2. Train the best one, and evaluate it and the baselines on the held-out rows.
    3. Compare it with the champion on the held-out rows.
    4. Store the model. This takes time, in which the champion may change: confirm the decision.
    5. Register the model, and promote it or make it the challenger.
    """
    log_context(run, context)
    # 1. Search the candidates.
    ranked = _search_and_rank(run, context)
    # 2. Train the best one, evaluate it and the baselines.
    trained = train_best(context, ranked)
    log_best_candidate(run, context, trained)
    baselines = evaluate_baselines(context)
    log_baselines(run, context, baselines)
    # 3. Compare it with the champion.
    decision = decide_promotion(context, trained, baselines, run.store)
    # 4. Store the model, and confirm the decision.
    uri = run.log_model(trained.model, context.source.rows)
    decision = confirm_decision(decision, context.use_case, run.store)
    # 5. Register the model.
    model = _register(run, context, trained, decision, uri=uri)
    print_metrics(ranked, trained, baselines)
    print_comparisons(context, trained, baselines)
    print_decision(model, decision)


def _search_and_rank(run: Run, context: TrainingContext) -> Sequence[SearchResult]:
    """Search the candidates, log each in its own run, and rank them, the best first."""
    results = []
    for result in search_candidates(context):
        log_search_result(context, result)
        log_candidate(run, context, result)
        results.append(result)
    return rank_candidates(context, results)


def _register(
    run: Run,
    context: TrainingContext,
    trained: TrainedCandidate,
    decision: PromotionDecision,
    *,
    uri: str,
) -> RegisteredVersion:
    use_case, totals, registry = context.use_case, context.data.totals, Registry(run.store)
    tags: dict[str, Any] = {
        "use_case": use_case.name,
        "candidate": trained.result.learner.name,
        "data_version": totals.data_version,
        "rows": totals.rows,
        TRAINED_IN: SPARK if context.source.large is not None else PROCESS,
        "code_version": code_version(),
        "verdict": decision.reason,
        **{f"metric.{name}": f"{value:.6g}" for name, value in trained.metrics.items()},
    }
    named = {key: str(value) for key, value in tags.items()}
    model = registry.register(use_case.name, uri, run.run_id, use_case.description, tags=named)
    run.log_tags({"model_version": str(model.version), "verdict": decision.reason})
    if decision.is_promoted:
        registry.promote(model)
    else:
        registry.challenge(model)
    return model
