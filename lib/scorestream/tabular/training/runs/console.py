"""What a training tells on the terminal and in the log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import structlog
from rich.console import Console
from rich.table import Table

from scorestream.infra.display import cell, heading
from scorestream.infra.mlflow.registry import Registered
from scorestream.tabular.training.data.problems import first_problems
from scorestream.tabular.training.runs.promotion_decision import Verdict
from scorestream.tabular.training.search.baselines import Rivals, against
from scorestream.tabular.training.search.candidates import Trained
from scorestream.tabular.training.search.context import Training
from scorestream.tabular.training.search.hyperparameters import Found

log = structlog.get_logger()


def tell_rows(training: Training) -> None:
    """Log what is learned from, and what cannot be."""
    data = training.data
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


def tell_candidate(training: Training, found: Found) -> None:
    """Log what a candidate reaches."""
    value = {training.metric.name: round(found.value, 6)}
    log.info("candidate", name=found.learner.name, **value)


def tell_metrics(ranked: Sequence[Found], trained: Trained, rivals: Rivals) -> None:
    """Print the metrics of candidates, of the best one on held-out rows, and of the baselines."""
    names = list(ranked[0].metrics)
    rows: dict[str, Mapping[str, float]] = {f.learner.name: f.metrics for f in ranked}
    rows[f"{trained.found.learner.name}, held-out rows"] = trained.metrics
    rows |= {f"baseline {name}, held-out rows": metrics for name, metrics in rivals.items()}
    table = Table("candidate, cross-validated", *map(heading, names))
    for title, metrics in rows.items():
        table.add_row(cell(title), *(f"{metrics.get(name, float('nan')):.5g}" for name in names))
    Console(width=160).print(table)


def tell_verdict(training: Training, trained: Trained, rivals: Rivals) -> None:
    """Print the metric that counts, and whether it is better than that of each baseline."""
    metric, repeats = training.metric, trained.repeats
    if f"cv_{metric.name}_mean" in repeats:
        mean, deviation = repeats[f"cv_{metric.name}_mean"], repeats[f"cv_{metric.name}_sd"]
        print(f"{metric.name} by repeated cross-validation: {mean:.5g} ± {deviation:.2g}")
    for name, theirs in rivals.items():
        print(against(metric, trained.metrics, name, theirs).told)


def tell_registered(model: Registered, verdict: Verdict) -> None:
    """Print what the model is from now on, and why."""
    print(f"{model} is the {'champion' if verdict.promoted else 'challenger'}: {verdict.reason}")
