"""The output of a training: log lines while it runs, tables and lines on stdout at its end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import structlog
from rich.console import Console
from rich.table import Table

from scorestream.infra.display import cell, heading
from scorestream.infra.mlflow.registry import RegisteredVersion
from scorestream.tabular.training.data.problems import first_problems
from scorestream.tabular.training.runs.promotion_decision import PromotionDecision
from scorestream.tabular.training.search.baselines import BaselineMetrics, compare_with_baseline
from scorestream.tabular.training.search.candidates import TrainedCandidate
from scorestream.tabular.training.search.hyperparameters import SearchResult
from scorestream.tabular.training.search.training_context import TrainingContext

log = structlog.get_logger()


def log_dataset(context: TrainingContext) -> None:
    """Log how many rows a training has, and its bad rows."""
    data = context.data
    log.info(
        "rows",
        source=data.source,
        rows=data.totals.rows,
        held_out=data.totals.held_out,
        data_version=data.totals.data_version,
    )
    if data.totals.bad_rows:
        first = first_problems(data.problems)
        log.warning("bad_rows", count=data.totals.bad_rows, first=first)


def log_search_result(context: TrainingContext, result: SearchResult) -> None:
    """Log the metric of a candidate."""
    value = {context.metric.name: round(result.value, 6)}
    log.info("candidate", name=result.learner.name, **value)


def print_metrics(
    ranked: Sequence[SearchResult], trained: TrainedCandidate, baselines: BaselineMetrics
) -> None:
    """Print the metrics of all candidates, of the best one on held-out rows, and of baselines."""
    names = list(ranked[0].metrics)
    rows: dict[str, Mapping[str, float]] = {f.learner.name: f.metrics for f in ranked}
    rows[f"{trained.result.learner.name}, held-out rows"] = trained.metrics
    rows |= {f"baseline {name}, held-out rows": metrics for name, metrics in baselines.items()}
    table = Table("candidate, cross-validated", *map(heading, names))
    for title, metrics in rows.items():
        table.add_row(cell(title), *(f"{metrics.get(name, float('nan')):.5g}" for name in names))
    Console(width=160).print(table)


def print_comparisons(
    context: TrainingContext, trained: TrainedCandidate, baselines: BaselineMetrics
) -> None:
    """Print the search metric over repeats, and how it compares with each baseline."""
    metric, repeats = context.metric, trained.repeats
    if f"cv_{metric.name}_mean" in repeats:
        mean, deviation = repeats[f"cv_{metric.name}_mean"], repeats[f"cv_{metric.name}_sd"]
        print(f"{metric.name} by repeated cross-validation: {mean:.5g} ± {deviation:.2g}")
    for name, theirs in baselines.items():
        print(compare_with_baseline(metric, trained.metrics, name, theirs).text)


def print_decision(model: RegisteredVersion, decision: PromotionDecision) -> None:
    """Print whether the model is champion or challenger, and why."""
    print(
        f"{model} is the {'champion' if decision.is_promoted else 'challenger'}: {decision.reason}"
    )
