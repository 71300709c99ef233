"""`train_model`: a use case from its data to a registered model."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import structlog
from rich.console import Console
from rich.table import Table as TextTable
from threadpoolctl import threadpool_limits

from scorestream.errors import ScorestreamError
from scorestream.io.mlflow.registry import Registered, Registry
from scorestream.io.mlflow.store import ModelStore
from scorestream.io.mlflow.tracking import (
    JUDGED,
    Run,
    environment_text,
    packed_hashes,
    started_run,
    unpacked_hashes,
)
from scorestream.locks import exclusive_lock
from scorestream.settings import Settings
from scorestream.training.baselines import baseline_metrics
from scorestream.training.config import UseCase
from scorestream.training.configuration import load_use_case
from scorestream.training.datasets import Dataset, Source, choose_source, prepared
from scorestream.training.distributed import learn_in_spark, learns_in_spark, single
from scorestream.training.evaluation import evaluate, failures
from scorestream.training.families import Floats
from scorestream.training.learning import Examples, Learner, card_of, examples_of
from scorestream.training.metrics import metric_of
from scorestream.training.model import Card, TabularModel
from scorestream.training.plots import evaluation_plots, importance_plot, learning_plot
from scorestream.training.profile import (
    PROBABILITY_EDGES,
    Profile,
    profile_column,
    transformations_of,
)
from scorestream.training.reports import first_problems, problem_counts, problems_csv, trials_csv
from scorestream.training.search import Found, judged, repeated, search_candidate
from scorestream.training.splitting import LEAST_ROWS
from scorestream.version import code_version

log = structlog.get_logger()

HASHES: Final = "training_rows.bin"
PROFILE: Final = "profile.json"
USE_CASE: Final = "use_case.json"
CURVE: Final = (0.1, 0.25, 0.5, 0.75, 1.0)
MOST_EXPLAINED: Final = 2_000
BLEND: Final = "blend"


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


@dataclass(frozen=True)
class Verdict:
    """Whether a model serves from now on, and why or why not."""

    promoted: bool
    reason: str


def train_model(options: TrainOptions, settings: Settings) -> None:
    """Train a use case, register the best candidate, and promote it if it deserves that.

    1. read, check and split the rows
    2. search each candidate by cross-validation over the rows that are not held out
    3. judge them on the held-out rows; the best by cross-validation goes on
    4. compare it with the champion on the held-out rows
    5. register it, and promote it or let it be the challenger

    Raises:
        ConfigurationError: the use case's file is wrong.
        InputError: the data cannot be read, or lack a column.
        TrainingError: they cannot be learned from.
        ModelError: the store of models failed.
    """
    use_case = load_use_case(options.config, options.changes)
    store = ModelStore.of(settings)
    lock = f"{settings.warehouse}/_checkpoints/train-{use_case.name}"
    # Threads of linear algebra and of trees within threads of ours cost more than they bring.
    with exclusive_lock(lock, "wait for it"), threadpool_limits(1):
        # 1.
        source = choose_source(use_case, options.config, options.data, options.append, settings)
        data = prepared(use_case, source)
        _tell_rows(data)
        card = card_of(use_case, data.rows)
        examples = examples_of(card, data.rows, use_case.search.group)
        with started_run(store, use_case.name, f"{use_case.name} {data.data_version}") as run:
            _log_start(run, use_case, data)
            # 2.
            found = _searched(use_case, card, examples.where(~data.held_out), run, data, examples)
            # 3.
            trained = _trained(use_case, card, examples, data, found, source)
            _log_trained(run, use_case, data, examples, trained)
            rivals = _log_baselines(run, use_case, card, data, examples)
            # 4.
            registry = Registry(store)
            verdict = _verdict(use_case, registry, store, data, examples, trained)
            # 5.
            model = _register(run, registry, use_case, data, source, trained, verdict)
    _tell(use_case, found, trained, rivals, model, verdict)


def _tell_rows(data: Dataset) -> None:
    log.info(
        "rows",
        source=data.source,
        rows=data.rows.num_rows,
        held_out=int(data.held_out.sum()),
        data_version=data.data_version,
    )
    if data.problems:
        log.warning("bad_rows", count=len(data.problems), first=first_problems(data.problems))


def _searched(
    use_case: UseCase,
    card: Card,
    learned: Examples,
    run: Run,
    data: Dataset,
    examples: Examples,
) -> list[Found]:
    """The candidates with their best parameters, the best candidate first; each has its own run."""
    found = []
    for name, candidate in use_case.candidates.items():
        found.append(search_candidate(name, candidate, card, learned, use_case.search))
        _log_candidate(use_case, card, learned, run, data, examples, found[-1])
    if use_case.blend:
        members = {f.learner.name: f.learner.members[0] for f in found}
        learner = Learner(BLEND, tuple(members[name] for name in use_case.blend))
        found.append(judged(learner, card, learned, use_case.search))
        _log_candidate(use_case, card, learned, run, data, examples, found[-1])
    metric = metric_of(use_case.task, use_case.search.metric)
    return sorted(found, key=lambda f: -f.value if metric.more_is_better else f.value)


def _log_candidate(
    use_case: UseCase,
    card: Card,
    learned: Examples,
    parent: Run,
    data: Dataset,
    examples: Examples,
    found: Found,
) -> None:
    name = found.learner.name
    log.info("candidate", name=name, **{use_case.search.metric: round(found.value, 6)})
    held = examples.where(data.held_out)
    model = found.learner.learn(card, learned, use_case.search.seed)
    with started_run(parent.store, use_case.name, name, parent) as run:
        run.log_params(found.learner.params)
        run.log_metrics({f"cv_{key}": value for key, value in found.metrics.items()})
        run.log_metrics(evaluate(card, held.truth, model.margin(held.features)))
        run.log_files({"trials.csv": trials_csv(found.trials)})


def _trained(
    use_case: UseCase,
    card: Card,
    examples: Examples,
    data: Dataset,
    found: list[Found],
    source: Source,
) -> Trained:
    best, seed = found[0], use_case.search.seed
    learned, held = examples.where(~data.held_out), examples.where(data.held_out)
    if source.large is not None:
        best = single(next(f for f in found if learns_in_spark(use_case, f.learner.name)))
    model = best.learner.learn(card, learned, seed)
    if source.large is not None:
        model = learn_in_spark(use_case, card, best, model, source.large)
    refit = use_case.refit and source.large is None
    margins = model.margin(held.features)
    return Trained(
        best,
        best.learner.learn(card, examples, seed) if refit else model,
        model,
        margins,
        evaluate(card, held.truth, margins),
        repeated(best.learner, card, learned, use_case.search),
    )


def _log_start(run: Run, use_case: UseCase, data: Dataset) -> None:
    run.log_tags(
        {
            "use_case": use_case.name,
            "data_version": data.data_version,
            "source": data.source,
            "code_version": code_version(),
            "mlflow.source.git.commit": code_version().partition("+")[2],
        }
    )
    run.log_params(
        {
            "task": use_case.task,
            "rows": data.rows.num_rows,
            "held_out_rows": int(data.held_out.sum()),
            "bad_rows": len(data.problems),
            "split": use_case.split.model_dump_json(),
            "search": use_case.search.model_dump_json(),
        }
    )
    run.log_files(
        {
            USE_CASE: use_case.model_dump_json(indent=1),
            "bad_rows.csv": problems_csv(data.problems),
            "environment.txt": environment_text(),
            HASHES: packed_hashes(data.hashes[~data.held_out]),
        }
    )


def _log_trained(
    run: Run, use_case: UseCase, data: Dataset, examples: Examples, trained: Trained
) -> None:
    card, held = trained.model.card, examples.where(data.held_out)
    run.log_params({"candidate": trained.found.learner.name, **trained.found.learner.params})
    run.log_metrics({f"cv_{key}": value for key, value in trained.found.metrics.items()})
    run.log_metrics(trained.repeats)
    run.log_metrics(trained.metrics)
    pictures = evaluation_plots(card, held.truth, trained.margins)
    pictures["importance.png"] = importance_plot(_importances(trained.judged, held))
    curve = _learning_curve(use_case, card, trained, examples.where(~data.held_out), held)
    pictures["learning_curve.png"] = learning_plot(use_case.search.metric, *curve)
    run.log_files({f"plots/{name}": content for name, content in pictures.items()})
    run.log_files({PROFILE: _profile(use_case, data, trained).model_dump_json(indent=1)})
    with tempfile.TemporaryDirectory() as folder:
        trained.judged.save(Path(folder))
        run.log_folder(Path(folder), JUDGED)


def _log_baselines(
    run: Run, use_case: UseCase, card: Card, data: Dataset, examples: Examples
) -> dict[str, dict[str, float]]:
    """Metrics of the baselines, each in a run of its own; the one that counts in the main run."""
    found = baseline_metrics(use_case, card, data.rows, examples, data.held_out)
    metric = use_case.search.metric
    for name, metrics in found.items():
        with started_run(run.store, use_case.name, f"baseline {name}", run) as own:
            own.log_params({"baseline": use_case.baselines[name]})
            own.log_metrics(metrics)
        if metric in metrics:
            run.log_metrics({f"baseline.{name}.{metric}": metrics[metric]})
    return found


def _importances(model: TabularModel, held: Examples) -> dict[str, float]:
    some = held.take(np.arange(min(len(held), MOST_EXPLAINED)))
    parts, _ = model.contributions(some.features)
    return {name: float(np.abs(values).mean()) for name, values in parts.items()}


def _learning_curve(
    use_case: UseCase, card: Card, trained: Trained, learned: Examples, held: Examples
) -> tuple[list[int], list[float]]:
    """A metric on the held-out rows after learning from some of the others.

    Sizes from which nothing can be learned yet, for instance rows of one label only, are left out.
    """
    order = np.random.default_rng(use_case.search.seed).permutation(len(learned))
    sizes, values = [], []
    for share in CURVE:
        count = max(LEAST_ROWS, round(share * len(learned)))
        some = learned.take(np.sort(order[:count]))
        try:
            model = trained.found.learner.learn(card, some, use_case.search.seed)
        except (ScorestreamError, ValueError):
            continue
        metrics = evaluate(card, held.truth, model.margin(held.features))
        sizes.append(len(some))
        values.append(metrics.get(use_case.search.metric, float("nan")))
    return sizes, values


def _profile(use_case: UseCase, data: Dataset, trained: Trained) -> Profile:
    card = trained.model.card
    names = [*card.columns, *card.derived, card.target]
    # What no truth has taught knows its own rows no better than others; and scores of another
    # forest, of which many rows share one, would lie beside the edges of the bins.
    unsupervised = card.task == "anomaly"
    margins = trained.model.margin(data.rows) if unsupervised else trained.found.margins
    values, probability = trained.model.values(margins)
    predictions = {"prediction": profile_column(values)}
    if probability is not None:
        predictions["probability"] = profile_column(pa.array(probability), PROBABILITY_EDGES)
    return Profile(
        name=use_case.name,
        source=data.source,
        data_version=data.data_version,
        rows=data.rows.num_rows,
        held_out=int(data.held_out.sum()),
        bad_rows=problem_counts(data.problems),
        transformations=transformations_of(trained.model),
        columns={name: profile_column(data.rows[name]) for name in names},
        predictions=predictions,
    )


def _verdict(
    use_case: UseCase,
    registry: Registry,
    store: ModelStore,
    data: Dataset,
    examples: Examples,
    trained: Trained,
) -> Verdict:
    """A model is promoted if it reaches the thresholds and beats the champion."""
    failed = failures(trained.metrics, use_case.thresholds)
    if failed:
        return Verdict(False, "; ".join(failed))
    champion = registry.champion(use_case.name)
    if champion is None:
        return Verdict(True, "there is no champion yet")
    try:
        return _compared(use_case, Run(store, champion.run_id), data, examples, trained, champion)
    except ScorestreamError as error:
        return Verdict(False, f"champion {champion} cannot be compared: {error}")


def _compared(
    use_case: UseCase,
    run: Run,
    data: Dataset,
    examples: Examples,
    trained: Trained,
    champion: Registered,
) -> Verdict:
    """Compare with the champion on held-out rows that neither of them has learned."""
    other = run.read_model(JUDGED)
    unseen = data.held_out & ~np.isin(data.hashes, unpacked_hashes(run.read_file(HASHES)))
    rows = data.rows.filter(pa.array(unseen))
    if other.card.labels != trained.judged.card.labels:
        return Verdict(False, f"champion {champion} has other labels")
    checked = other.check(rows)
    both = ~checked.bad
    if both.sum() < LEAST_ROWS:
        return Verdict(
            False,
            f"only {both.sum()} held-out rows are new to champion {champion} and can be predicted "
            "by it",
        )
    truth = examples.where(unseen).truth[both]
    theirs = other.margin(other.features(checked.rows).filter(pa.array(both)))
    ours = trained.judged.margin(examples.where(unseen).features.filter(pa.array(both)))
    metric = metric_of(use_case.task, use_case.search.metric)
    value, theirs_value = (
        evaluate(card, truth, margin).get(metric.name, float("nan"))
        for card, margin in ((trained.judged.card, ours), (other.card, theirs))
    )
    better = metric.better(value, theirs_value)
    return Verdict(
        better,
        f"{metric.name} {value:.6g} {'beats' if better else 'does not beat'} {theirs_value:.6g} "
        f"of champion {champion} on {len(truth):,} held-out rows",
    )


def _register(
    run: Run,
    registry: Registry,
    use_case: UseCase,
    data: Dataset,
    source: Source,
    trained: Trained,
    verdict: Verdict,
) -> Registered:
    uri = run.log_model(trained.model, source.rows)
    tags: dict[str, Any] = {
        "use_case": use_case.name,
        "candidate": trained.found.learner.name,
        "data_version": data.data_version,
        "rows": data.rows.num_rows,
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


def _tell(
    use_case: UseCase,
    found: list[Found],
    trained: Trained,
    rivals: Mapping[str, Mapping[str, float]],
    model: Registered,
    verdict: Verdict,
) -> None:
    names = list(found[0].metrics)
    table = TextTable("candidate, cross-validated", *names)
    for one in found:
        table.add_row(one.learner.name, *(f"{one.metrics[name]:.5g}" for name in names))
    judged_as = f"{trained.found.learner.name}, held-out rows"
    judged = {judged_as: trained.metrics}
    judged |= {f"baseline {name}, held-out rows": metrics for name, metrics in rivals.items()}
    for name, metrics in judged.items():
        table.add_row(name, *(f"{metrics.get(n, float('nan')):.5g}" for n in names))
    Console(width=160).print(table)
    metric = use_case.search.metric
    if f"cv_{metric}_mean" in trained.repeats:
        mean, deviation = trained.repeats[f"cv_{metric}_mean"], trained.repeats[f"cv_{metric}_sd"]
        print(f"{metric} by repeated cross-validation: {mean:.5g} ± {deviation:.2g}")
    for name, metrics in rivals.items():
        print(_comparison(use_case, trained.metrics, name, metrics))
    alias = "champion" if verdict.promoted else "challenger"
    print(f"{model} is the {alias}: {verdict.reason}")


def _comparison(
    use_case: UseCase, ours: Mapping[str, float], name: str, theirs: Mapping[str, float]
) -> str:
    """Whether a model beats a baseline, as a line."""
    metric = metric_of(use_case.task, use_case.search.metric)
    values = [metrics.get(metric.name, float("nan")) for metrics in (ours, theirs)]
    if np.isnan(values).any():
        return f"{metric.name} is not defined for the held-out rows: no comparison with {name}"
    verb = "beats" if metric.better(*values) else "does not beat"
    return f"{metric.name} {values[0]:.5g} {verb} {values[1]:.5g} of baseline {name}"
