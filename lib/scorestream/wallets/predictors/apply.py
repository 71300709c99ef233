"""Models applied to scored wallets, in a task: one call an Arrow batch.

A model that fails is never a wallet's fault: its score stands, and lacks the model's value.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Final, Self

import numpy as np
import pyarrow as pa

from scorestream.infra.errors import ModelError
from scorestream.infra.mlflow.model_version import Version
from scorestream.infra.spark.isolation import Deadly, Helper, Undoable
from scorestream.wallets.core import schemas
from scorestream.wallets.core.pipeline import Scored
from scorestream.wallets.predictors.batch_models import Choice, ModelUse

# Calls for parts of a batch that may fail, until the model is to blame, and not some wallets.
MAX_FAILED_CALLS: Final = 32
# Of a call in a process of its own, loading the model included.
MODEL_SECONDS: Final = 60.0
_SHOWN_CHARACTERS: Final = 300
_SCORES: Final = {
    "zscore": "final_score",
    "lp_score": "lp_score",
    "swap_score": "swap_score",
    "transaction_count": "transaction_count",
}
_DAYS: Final = {
    "days_since_first": "first_transaction_at",
    "days_since_last": "last_transaction_at",
}
_DAY_MICROSECONDS: Final = 86_400 * 1_000_000
# The columns that every model sees.
MODEL_COLUMNS: Final = (*(field.name for field in schemas.FEATURES), *_SCORES, *_DAYS)


class Applier:
    """Applies the models of a batch in a task, and keeps account of it."""

    def __init__(
        self, choices: Sequence[Choice], careful: bool = False, seconds: float = MODEL_SECONDS
    ) -> None:
        """Nothing is loaded yet.

        Args:
            choices: the models.
            careful: whether they run in a process of its own, so that a model that ends its
                process, or takes for ever, costs no score.
            seconds: the most that a call may take there.
        """
        self.uses: list[ModelUse] = []
        self._choices = choices
        # A task has no time for what may hang in every call.
        self._deadly: dict[Version, Deadly] = {}
        self._helper = Helper(seconds, ready) if choices and careful else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        if self._helper is not None:
            self._helper.stop()

    def apply(self, scored: Scored) -> Scored:
        """The same with the models' values in `models`."""
        if not self._choices or scored.scores.num_rows == 0:
            return scored
        rows = model_rows(scored.scores)
        found = [self._first(choice, rows) for choice in self._choices]
        column = models_column([each for each in found if each is not None], rows.num_rows)
        place = scored.scores.schema.get_field_index("models")
        field = scored.scores.schema.field(place)
        return replace(scored, scores=scored.scores.set_column(place, field, column))

    def _first(self, choice: Choice, rows: pa.Table) -> tuple[Version, pa.Array] | None:
        """The values of the first version that gives some."""
        for version in choice.versions:
            is_last = version == choice.versions[-1]
            values = self._tried(version, rows, is_last)
            if values is not None:
                return version, values
        return None

    def _tried(self, version: Version, rows: pa.Table, is_last: bool) -> pa.Array | None:
        started = time.perf_counter()
        values, problem, lacking = None, None, 0
        try:
            values = self._values(version, rows)
            lacking = values.null_count
        except Exception as error:  # noqa: BLE001  whatever a model raises, the scores stand
            problem = explained(error)
            lacking = rows.num_rows if is_last else 0
        seconds = time.perf_counter() - started
        self.uses.append(ModelUse(version, rows.num_rows, lacking, seconds, problem))
        return values

    def _values(self, version: Version, rows: pa.Table) -> pa.Array:
        if self._helper is None:
            return model_values(version, rows)
        if version in self._deadly:
            raise self._deadly[version]
        try:
            return self._helper.run(partial(model_values, version, rows))
        except Deadly as error:
            self._deadly[version] = error
            raise


def model_rows(scores: pa.Table) -> pa.Table:
    """What models see of scored wallets: `MODEL_COLUMNS`, one row a wallet.

    `zscore` is a 64-bit float, as models know no decimals. Days are as of the moment of the score.
    """
    features = scores["features"].combine_chunks().flatten()
    of_scores = [scores[column] for column in _SCORES.values()]
    days = [_days_since(scores, column) for column in _DAYS.values()]
    return pa.Table.from_arrays([*features, *of_scores, *days], names=list(MODEL_COLUMNS))


def _days_since(scores: pa.Table, column: str) -> pa.Array:
    """Days from a time to the moment of the score; 0 where it lies behind that."""
    moments = np.asarray(scores["as_of"]) * 1_000_000
    passed = moments - np.asarray(scores[column].cast(pa.int64()))
    return pa.array(np.maximum(passed, 0) / _DAY_MICROSECONDS)


def models_column(found: Sequence[tuple[Version, pa.Array]], wallets: int) -> pa.MapArray:
    """The column `models`: for each wallet the name, version and value of every model."""
    count = len(found)
    names = pa.array([version.name for version, _ in found], pa.string())
    versions = pa.array([version.version for version, _ in found], pa.string())
    every = np.tile(np.arange(count), wallets)
    # Values come model by model, and are needed wallet by wallet.
    order = np.arange(count * wallets).reshape(count, wallets).T.ravel()
    values = pa.concat_arrays([pa.array([], pa.float64()), *(values for _, values in found)])
    items = pa.StructArray.from_arrays(
        [versions.take(pa.array(every)), values.take(pa.array(order))],
        fields=list(schemas.MODELS.item_type),
    )
    offsets = pa.array(np.arange(wallets + 1) * count, pa.int32())
    return pa.MapArray.from_arrays(offsets, names.take(pa.array(every)), items)


def model_values(version: Version, rows: pa.Table) -> pa.Array:
    """A model's values, float64, null where it has none for a wallet.

    One wallet that a model does not take costs no other its value.

    Raises:
        Exception: whatever the model raises, if that is not for a few wallets only.
        ModelError: it cannot be loaded, or gives something else than one number a wallet.
    """
    # Importing MLflow takes seconds, which those without models need not spend.
    from scorestream.wallets.predictors.pyfunc import loaded_copy  # noqa: PLC0415

    return values_by_halves(loaded_copy(version).values, rows)


def values_by_halves(values: Callable[[pa.Table], pa.Array], rows: pa.Table) -> pa.Array:
    """The values of all rows; null for those that make the call for them fail, found by halving.

    Args:
        values: gives one float64 a row.
        rows: at least one.

    Raises:
        Exception: what the first call raised, if `MAX_FAILED_CALLS` did, or no row has a value.
    """
    failures: list[Exception] = []

    def of(part: pa.Table) -> list[pa.Array]:
        try:
            return [values(part)]
        except Exception as error:  # noqa: BLE001  a model raises what it likes
            failures.append(error)
        if len(failures) == MAX_FAILED_CALLS:
            raise failures[0]
        if part.num_rows == 1:
            return [pa.nulls(1, pa.float64())]
        half = part.num_rows // 2
        return of(part.slice(0, half)) + of(part.slice(half))

    found = pa.concat_arrays(of(rows))
    if failures and found.null_count == len(found):
        raise failures[0]
    return found


def explained(error: Exception) -> str:
    """Why a model gave nothing, in one line."""
    lines = str(error).strip().splitlines()
    kind = "" if isinstance(error, Undoable | ModelError) else f"{type(error).__name__}: "
    return f"{kind}{lines[0] if lines else ''}".removesuffix(": ")[:_SHOWN_CHARACTERS]


def ready() -> None:
    """All that a process of its own has to show before it loads a model."""
