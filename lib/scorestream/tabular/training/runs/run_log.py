"""What a training logs to MLflow: its run, and a run for each candidate and baseline."""

from __future__ import annotations

import csv
import io
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, TypeVar

import numpy as np
import pyarrow as pa
from pydantic import ValidationError

from scorestream.infra.config.frozen_model import FrozenModel
from scorestream.infra.config.yaml_files import format_problems
from scorestream.infra.display import spreadsheet_text
from scorestream.infra.errors import ModelError, ScorestreamError
from scorestream.infra.version import code_version
from scorestream.tabular.model.trained_model import TabularModel
from scorestream.tabular.model.validation import Problem
from scorestream.tabular.registry.tracking import (
    JUDGED,
    Run,
    describe_environment,
    start_run,
)
from scorestream.tabular.training.config.use_case import UseCase
from scorestream.tabular.training.data.hashing import pack_hashes
from scorestream.tabular.training.data.splitting import MIN_ROWS
from scorestream.tabular.training.evaluation import evaluate
from scorestream.tabular.training.runs.plots import evaluation_plots, importance_plot, learning_plot
from scorestream.tabular.training.runs.profile import (
    PROBABILITY_EDGES,
    Profile,
    describe_transformations,
    profile_column,
)
from scorestream.tabular.training.search.baselines import BaselineMetrics
from scorestream.tabular.training.search.candidates import TrainedCandidate
from scorestream.tabular.training.search.hyperparameters import SearchResult
from scorestream.tabular.training.search.learning import Examples
from scorestream.tabular.training.search.training_context import TrainingContext

HASHES: Final = "training_rows.bin"
PROFILE: Final = "profile.json"
USE_CASE: Final = "use_case.json"
# Tag of a version: where it was trained, and so what tells the rows that it has learned.
TRAINED_IN: Final = "trained_in"
PROCESS: Final = "process"
SPARK: Final = "spark"
CURVE: Final = (0.1, 0.25, 0.5, 0.75, 1.0)
MAX_EXPLAINED: Final = 2_000
Noted = TypeVar("Noted", bound=FrozenModel)


def log_context(run: Run, context: TrainingContext) -> None:
    """Log the dataset, the configuration and the environment."""
    use_case, data = context.use_case, context.data
    run.log_tags(
        {
            "use_case": use_case.name,
            "data_version": data.totals.data_version,
            "source": data.source,
            "code_version": code_version(),
            "mlflow.source.git.commit": code_version().partition("+")[2],
        }
    )
    run.log_params(
        {
            "task": use_case.task,
            "rows": data.totals.rows,
            "held_out_rows": data.totals.held_out,
            "bad_rows": data.totals.bad_rows,
            "sample_rows": data.rows.num_rows if context.source.sampled else "all",
            "split": use_case.split.model_dump_json(),
            "search": use_case.search.model_dump_json(),
        }
    )
    files: dict[str, bytes | str] = {
        USE_CASE: use_case.model_dump_json(indent=1),
        "bad_rows.csv": _problems_csv(data.problems),
        "environment.txt": describe_environment(),
    }
    if context.source.large is None:
        files[HASHES] = pack_hashes(data.hashes[~data.held_out])
    run.log_files(files)


def read_use_case(run: Run) -> UseCase:
    """Read the configuration of a run.

    Raises:
        ModelError: the run has none, or one of another version.
    """
    return _read_config(run, USE_CASE, UseCase)


def read_profile(run: Run) -> Profile:
    """Read the training profile of a run.

    Raises:
        ModelError: the run has none, or one of another version.
    """
    return _read_config(run, PROFILE, Profile)


def _read_config(run: Run, name: str, kind: type[Noted]) -> Noted:
    try:
        return kind.model_validate_json(run.read_file(name))
    except ValidationError as error:
        raise ModelError(
            f"run {run.run_id}: {name}: written by another version: {format_problems(error)}"
        ) from None


def log_candidate(parent: Run, context: TrainingContext, result: SearchResult) -> None:
    """Log a candidate in a run of its own, with its metrics on the held-out rows."""
    card, held_out = context.card, context.held_out_examples
    model = result.learner.learn(card, context.training_examples, context.seed)
    with start_run(parent.store, context.use_case.name, result.learner.name, parent) as run:
        run.log_params(result.learner.params)
        run.log_metrics(_by_cross_validation(result))
        run.log_metrics(evaluate(card, held_out.truth, model.margin(held_out.features)))
        run.log_files({"trials.csv": _trials_csv(result.trials)})


def log_best_candidate(run: Run, context: TrainingContext, trained: TrainedCandidate) -> None:
    """Log the best candidate: metrics, plots, profile, and the model that was evaluated."""
    run.log_params({"candidate": trained.result.learner.name, **trained.result.learner.params})
    run.log_metrics(_by_cross_validation(trained.result))
    run.log_metrics(trained.repeats)
    run.log_metrics(trained.metrics)
    run.log_files({f"plots/{name}": content for name, content in _pictures(context, trained)})
    run.log_files({PROFILE: _profile(context, trained).model_dump_json(indent=1)})
    with tempfile.TemporaryDirectory() as folder:
        trained.judged.save(Path(folder))
        run.log_folder(Path(folder), JUDGED)


def log_baselines(run: Run, context: TrainingContext, baselines: BaselineMetrics) -> None:
    """Log each baseline in a run of its own; its search metric is logged in the main run, too."""
    use_case, metric = context.use_case, context.metric.name
    for name, metrics in baselines.items():
        with start_run(run.store, use_case.name, f"baseline {name}", run) as own:
            own.log_params({"baseline": use_case.baselines[name]})
            own.log_metrics(metrics)
        if metric in metrics:
            run.log_metrics({f"baseline.{name}.{metric}": metrics[metric]})


def _by_cross_validation(result: SearchResult) -> dict[str, float]:
    return {f"cv_{name}": value for name, value in result.metrics.items()}


def _pictures(context: TrainingContext, trained: TrainedCandidate) -> Iterator[tuple[str, bytes]]:
    held_out = context.held_out_examples
    yield from evaluation_plots(trained.model.card, held_out.truth, trained.margins).items()
    yield "importance.png", importance_plot(_importances(trained.judged, held_out))
    curve = _learning_curve(context, trained.result)
    yield "learning_curve.png", learning_plot(context.metric.name, *curve)


def _importances(model: TabularModel, examples: Examples) -> dict[str, float]:
    some = examples.take(np.arange(min(len(examples), MAX_EXPLAINED)))
    parts, _ = model.contributions(some.features)
    return {name: float(np.abs(values).mean()) for name, values in parts.items()}


def _learning_curve(
    context: TrainingContext, result: SearchResult
) -> tuple[list[int], list[float]]:
    """Evaluate on the held-out rows after training on shares of the others.

    Sizes too small to train on, for instance with rows of one label only, are left out.
    """
    card, learned, held_out = context.card, context.training_examples, context.held_out_examples
    order = np.random.default_rng(context.seed).permutation(len(learned))
    sizes, values = [], []
    for share in CURVE:
        some = learned.take(np.sort(order[: max(MIN_ROWS, round(share * len(learned)))]))
        try:
            model = result.learner.learn(card, some, context.seed)
        except (ScorestreamError, ValueError):
            continue
        metrics = evaluate(card, held_out.truth, model.margin(held_out.features))
        sizes.append(len(some))
        values.append(metrics.get(context.metric.name, float("nan")))
    return sizes, values


def _profile(context: TrainingContext, trained: TrainedCandidate) -> Profile:
    data, card = context.data, trained.model.card
    names = [*card.columns, *card.derived, card.target]
    # An unsupervised model does not overfit to its own rows. Scores of the folds' forests, which
    # many rows share, would lie beside the edges of the bins.
    unsupervised = card.task == "anomaly"
    margins = trained.model.margin(data.rows) if unsupervised else trained.result.margins
    values, probability = trained.model.values(margins)
    predictions = {"prediction": profile_column(values)}
    if probability is not None:
        predictions["probability"] = profile_column(pa.array(probability), PROBABILITY_EDGES)
    return Profile(
        name=context.use_case.name,
        source=data.source,
        data_version=data.totals.data_version,
        rows=data.totals.rows,
        held_out=data.totals.held_out,
        bad_rows=data.totals.bad,
        sample=data.rows.num_rows if context.source.sampled else None,
        transformations=describe_transformations(trained.model),
        columns={name: profile_column(data.rows[name]) for name in names},
        predictions=predictions,
    )


def _problems_csv(problems: Sequence[Problem]) -> str:
    """All problems, a line each."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["row", "column", "problem"])
    # People open it in a spreadsheet, and the texts quote values of the table.
    writer.writerows(
        [p.row, spreadsheet_text(p.column), spreadsheet_text(p.text)] for p in problems
    )
    return out.getvalue()


def _trials_csv(trials: Sequence[Mapping[str, object]]) -> str:
    """The trials of a search, a line each."""
    out = io.StringIO()
    names = list(dict.fromkeys(name for trial in trials for name in trial))
    writer = csv.DictWriter(out, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(trials)
    return out.getvalue()
