"""`score_table` and `explain`: registered models applied to tables in batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain

import numpy as np
import pyarrow as pa
import structlog

from scorestream.infra.config.settings import Settings
from scorestream.infra.errors import InputError
from scorestream.infra.mlflow.registry import Registry
from scorestream.infra.mlflow.store import ModelStore
from scorestream.tabular.inference.output_files import write_batches
from scorestream.tabular.model.config import WRITTEN_COLUMNS
from scorestream.tabular.model.explain import explain_rows, reasons_of
from scorestream.tabular.model.trained_model import TabularModel
from scorestream.tabular.registry.loading import LoadedModel, load
from scorestream.tabular.training.data.ingest import read_batches

log = structlog.get_logger()

START, REASONS, TERM = "start", "reasons", "term_"


@dataclass(frozen=True)
class ApplyOptions:
    """Options of a job that applies a model to a table.

    Attributes:
        model: NAME@ALIAS, NAME/VERSION or NAME.
        top: reasons told of a row (`explain`).
    """

    model: str
    input: str
    output: str
    top: int = 3


def score_table(options: ApplyOptions, settings: Settings) -> None:
    """Write a table's rows with their predictions.

    Raises:
        ModelError: there is no such model.
        InputError: the input cannot be read, or lacks a column; the output cannot be written.
    """
    store = ModelStore.of(settings)
    model = load(store, Registry(store).resolve(options.model))

    def score(rows: pa.Table, first_row: int) -> pa.Table:
        return add_predictions(model, rows, first_row)

    rows = _apply(options, score)
    print(f"{rows:,} rows of {options.input} scored by {model.registered}: {options.output}")


def explain_table(options: ApplyOptions, settings: Settings) -> None:
    """Write a table's rows with their predictions and the reasons.

    Raises:
        ModelError: there is no such model, or it was not trained here.
        InputError: the input cannot be read, or lacks a column; the output cannot be written.
    """
    store = ModelStore.of(settings)
    model = load(store, Registry(store).resolve(options.model))
    tabular = model.tabular

    def explain(rows: pa.Table, first_row: int) -> pa.Table:
        return add_reasons(tabular, rows, first_row, options.top)

    rows = _apply(options, explain)
    print(f"{rows:,} rows of {options.input} explained by {model.registered}: {options.output}")


def add_predictions(model: LoadedModel, rows: pa.Table, first_row: int = 1) -> pa.Table:
    """Add the columns `prediction`, for classifiers `probability`, and `error`.

    Raises:
        InputError: a column is missing, has a type that cannot be meant, or a name of ours.
    """
    _refuse_names(rows, WRITTEN_COLUMNS)
    predictions = model.predict(rows, first_row)
    rows = rows.append_column("prediction", predictions.values)
    if predictions.probability is not None:
        rows = rows.append_column("probability", predictions.probability)
    return rows.append_column("error", predictions.errors)


def add_reasons(model: TabularModel, rows: pa.Table, first_row: int, top: int) -> pa.Table:
    """Add the columns `prediction`, `start`, a `term_…` per feature, `reasons` and `error`.

    Start and terms sum to the prediction; a classification's to its log-odds.

    Raises:
        InputError: a column is missing, has a type that cannot be meant, or a name of ours.
    """
    explained = explain_rows(model, rows, first_row)
    good = np.asarray(explained.errors.is_null())
    columns = {
        "prediction": explained.predictions,
        START: pa.array(explained.start, mask=~good),
        **{TERM + name: pa.array(v, mask=~good) for name, v in explained.terms.items()},
        REASONS: pa.array(
            [
                "; ".join(r.text for r in reasons_of(model, explained, place)[:top])
                if fine
                else None
                for place, fine in enumerate(good.tolist())
            ],
            pa.string(),
        ),
        "error": explained.errors,
    }
    _refuse_names(rows, tuple(columns))
    for name, values in columns.items():
        rows = rows.append_column(name, values)
    return rows


def _apply(options: ApplyOptions, work: Callable[[pa.Table, int], pa.Table]) -> int:
    """Read, process and write rows in batches; returns how many."""
    worked = (batch for batch in _process_batches(options.input, work) if batch.num_rows)
    first = next(worked, None)
    if first is None:
        raise InputError(f"{options.input}: holds no row: give a table with rows")
    return write_batches(options.output, first.schema, chain([first], worked))


def _process_batches(path: str, work: Callable[[pa.Table, int], pa.Table]) -> Iterator[pa.Table]:
    done = 0
    for batch in read_batches(path):
        yield work(batch, done + 1)
        done += batch.num_rows
        log.debug("rows", path=path, done=done)


def _refuse_names(rows: pa.Table, names: tuple[str, ...]) -> None:
    clashes = [name for name in names if name in rows.column_names]
    if clashes:
        raise InputError(
            f"column {clashes[0]}: is the name of a column of the output: rename it in the input"
        )
