"""Applies models to scored wallets in a Spark task: one call per Arrow batch.

A model that fails costs no wallet its score: the score only lacks the model's value.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Final, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from scorestream.infra.errors import ModelError
from scorestream.infra.mlflow.model_version import Version
from scorestream.infra.spark.process_isolation import CrashOrTimeout, IsolatedProcess, WorkFailed
from scorestream.wallets.core.pipeline import Scored
from scorestream.wallets.core.scorer import (
    Declaration,
    union_of_features,
    union_of_partial_scores,
)
from scorestream.wallets.predictors.batch_models import BatchModel, ModelUse
from scorestream.wallets.schema.columns import MODELS
from scorestream.wallets.scorers.dex_v1.scorer import DexV1

# After so many failed calls for parts of a batch the model is to blame, and not some wallets.
MAX_FAILED_CALLS: Final = 32
# The most that an isolated call may take, loading the model included.
MODEL_SECONDS: Final = 60.0
_SHOWN_CHARACTERS: Final = 300
_DAYS: Final = {
    "days_since_first": "first_transaction_at",
    "days_since_last": "last_transaction_at",
}
_DAY_MICROSECONDS: Final = 86_400 * 1_000_000


def model_schema(declarations: Sequence[Declaration]) -> pa.Schema:
    """The columns that models see of a score."""
    features = union_of_features(declarations)
    partial = [each.column for each in union_of_partial_scores(declarations)]
    return pa.schema(
        [
            *((feature.name, feature.type) for feature in features),
            *((name, pa.float64()) for name in ("zscore", *partial)),
            ("transaction_count", pa.int64()),
            *((name, pa.float64()) for name in _DAYS),
        ]
    )


# Those of the scores that models of wallets learn from.
MODEL_SCHEMA: Final = model_schema([DexV1.declaration])
MODEL_COLUMNS: Final = tuple(MODEL_SCHEMA.names)


class ModelApplier:
    """Applies the models of a batch in a task.

    Attributes:
        uses: each call so far.
    """

    def __init__(
        self,
        batch_models: Sequence[BatchModel],
        *,
        is_isolated: bool = False,
        timeout: float = MODEL_SECONDS,
    ) -> None:
        """Load nothing yet.

        Args:
            batch_models: the models.
            is_isolated: whether they run in an isolated process, so that a model that crashes or
                hangs costs no score.
            timeout: seconds that a call may take there.
        """
        self.uses: list[ModelUse] = []
        self._batch_models = batch_models
        # A task has no time for what may hang in every call.
        self._crashes: dict[Version, CrashOrTimeout] = {}
        self._process = IsolatedProcess(timeout, warm_up) if batch_models and is_isolated else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        if self._process is not None:
            self._process.stop()

    def apply(self, scored: Scored) -> Scored:
        """Add the column `models` to the scores: values of models to those of the first scoring."""
        if not self._batch_models:
            return scored
        scoring = scored.scorings[0]
        of_first = pc.equal(scored.scores["scoring"], scoring.name)
        judged, others = scored.scores.filter(of_first), scored.scores.filter(pc.invert(of_first))
        if judged.num_rows == 0:
            return scored
        rows = build_model_input(judged, model_schema(scoring.declarations))
        results = [self._predict(batch_model, rows) for batch_model in self._batch_models]
        column = build_models_column([each for each in results if each is not None], rows.num_rows)
        none = build_models_column([], others.num_rows)
        parts = [judged.append_column("models", column), others.append_column("models", none)]
        return replace(scored, scores=pa.concat_tables(parts))

    def _predict(self, batch_model: BatchModel, rows: pa.Table) -> tuple[Version, pa.Array] | None:
        """Values of the version or, where it fails, of its fallback; None if both fail."""
        for version in batch_model.versions:
            is_last = version == batch_model.versions[-1]
            values = self._try_version(version, rows, is_last=is_last)
            if values is not None:
                return version, values
        return None

    def _try_version(self, version: Version, rows: pa.Table, *, is_last: bool) -> pa.Array | None:
        """Values of a version; None if it fails. Either way its use is recorded."""
        started = time.perf_counter()
        values, problem, lacking = None, None, 0
        try:
            values = self._call(version, rows)
            lacking = values.null_count
        except Exception as error:  # noqa: BLE001  whatever a model raises, the scores stand
            problem = describe_error(error)
            lacking = rows.num_rows if is_last else 0
        seconds = time.perf_counter() - started
        self.uses.append(ModelUse(version, rows.num_rows, lacking, seconds, problem))
        return values

    def _call(self, version: Version, rows: pa.Table) -> pa.Array:
        if self._process is None:
            return predict_values(version, rows)
        if version in self._crashes:
            raise self._crashes[version]
        try:
            return self._process.run(partial(predict_values, version, rows))
        except CrashOrTimeout as error:
            self._crashes[version] = error
            raise


def build_model_input(scores: pa.Table, schema: pa.Schema = MODEL_SCHEMA) -> pa.Table:
    """Build a model's input from scores: rows of a `model_schema`, one per wallet.

    `zscore` is a 64-bit float, as models know no decimals. Days are as of the moment of the score.
    """
    features = scores["features"].combine_chunks()
    columns = {
        **dict(zip(features.type.names, features.flatten(), strict=True)),
        "zscore": scores["final_score"],
        **{name: _days_since(scores, time) for name, time in _DAYS.items()},
    }
    found = [columns[name] if name in columns else scores[name] for name in schema.names]
    return pa.Table.from_arrays(found, schema=schema)


def _days_since(scores: pa.Table, column: str) -> pa.Array:
    """Days from a time to the moment of the score; 0 where it lies behind that."""
    moments = np.asarray(scores["as_of"]) * 1_000_000
    passed = moments - np.asarray(scores[column].cast(pa.int64()))
    return pa.array(np.maximum(passed, 0) / _DAY_MICROSECONDS)


def build_models_column(results: Sequence[tuple[Version, pa.Array]], wallets: int) -> pa.MapArray:
    """Build the column `models`: for each wallet the name, version and value of every model."""
    count = len(results)
    names = pa.array([version.name for version, _ in results], pa.string())
    versions = pa.array([version.version for version, _ in results], pa.string())
    model_numbers = pa.array(np.tile(np.arange(count), wallets))
    # Values come model by model, and are needed wallet by wallet.
    order = np.arange(count * wallets).reshape(count, wallets).T.ravel()
    values = pa.concat_arrays([pa.array([], pa.float64()), *(values for _, values in results)])
    items = pa.StructArray.from_arrays(
        [versions.take(model_numbers), values.take(pa.array(order))],
        fields=list(MODELS.item_type),
    )
    offsets = pa.array(np.arange(wallets + 1) * count, pa.int32())
    return pa.MapArray.from_arrays(offsets, names.take(model_numbers), items)


def predict_values(version: Version, rows: pa.Table) -> pa.Array:
    """Apply a model: one float64 per wallet, null where the model has none.

    A wallet for which the model fails costs no other wallet its value.

    Raises:
        Exception: whatever the model raises, if that is not for a few wallets only.
        ModelError: it cannot be loaded, or gives something else than one number a wallet.
    """
    # Importing MLflow takes seconds, which those without models need not spend.
    from scorestream.wallets.predictors.pyfunc import get_loaded_copy  # noqa: PLC0415

    return predict_by_halves(get_loaded_copy(version).predict, rows)


def predict_by_halves(predict: Callable[[pa.Table], pa.Array], rows: pa.Table) -> pa.Array:
    """Predict all rows; rows that make the call fail are found by halving, and get null.

    Args:
        predict: gives one float64 per row.
        rows: at least one.

    Raises:
        Exception: what the first call raised, if `MAX_FAILED_CALLS` did, or no row has a value.
    """
    failures: list[Exception] = []

    def predict_part(part: pa.Table) -> list[pa.Array]:
        try:
            return [predict(part)]
        except Exception as error:  # noqa: BLE001  a model raises what it likes
            failures.append(error)
        if len(failures) == MAX_FAILED_CALLS:
            raise failures[0]
        if part.num_rows == 1:
            return [pa.nulls(1, pa.float64())]
        half = part.num_rows // 2
        return predict_part(part.slice(0, half)) + predict_part(part.slice(half))

    values = pa.concat_arrays(predict_part(rows))
    if failures and values.null_count == len(values):
        raise failures[0]
    return values


def describe_error(error: Exception) -> str:
    """Describe in one line why a model gave nothing."""
    lines = str(error).strip().splitlines()
    kind = "" if isinstance(error, WorkFailed | ModelError) else f"{type(error).__name__}: "
    return f"{kind}{lines[0] if lines else ''}".removesuffix(": ")[:_SHOWN_CHARACTERS]


def warm_up() -> None:
    """Do nothing: the process answers this call as soon as it runs, before it loads a model."""
