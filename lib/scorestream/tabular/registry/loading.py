"""Loads models from the registry; also the pyfunc that MLflow loads for our models.

A model of ours is an MLflow pyfunc whose folder holds JSON and the formats of the families'
libraries: nothing that is executed when it is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import PyFuncModel, load_model
from mlflow.types import DataType

from scorestream.infra.errors import InputError, ModelError
from scorestream.infra.mlflow.registry import RegisteredVersion
from scorestream.infra.mlflow.store import ModelStore
from scorestream.tabular.model.trained_model import Predictions, TabularModel
from scorestream.tabular.model.validation import MISSING_TEXTS

OUTPUT: Final = "output"
OUTPUTS: Final = ("prediction", "probability", "table")
FLOATS: Final = (DataType.float, DataType.double)
NUMBERS: Final = (DataType.integer, DataType.long, *FLOATS)


@dataclass(frozen=True)
class TabularPyfunc:
    """A model of ours behind MLflow's interface."""

    model: TabularModel

    def predict(self, model_input: Any, params: Mapping[str, Any] | None = None) -> Any:
        """Predict rows given as a pandas frame.

        Args:
            model_input: with the raw columns.
            params: `output`: prediction (numbers or labels), probability, or table: a frame of
                prediction, probability and error, in which a row may be bad.

        Raises:
            InputError: a column is missing; or, unless a table is asked for, a row is bad.
        """
        table = pa.Table.from_pandas(pd.DataFrame(model_input), preserve_index=False)
        predictions = self.model.predict(table)
        output = (params or {}).get(OUTPUT, OUTPUTS[0])
        if output == "table":
            return _frame(predictions)
        self._refuse_bad(predictions)
        if output == "probability":
            return None if predictions.probability is None else predictions.probability.to_pandas()
        return predictions.values.to_numpy(zero_copy_only=False)

    def get_raw_model(self) -> TabularModel:
        """The model itself."""
        return self.model

    def _refuse_bad(self, predictions: Predictions) -> None:
        bad = pc.index(predictions.errors.is_valid(), True).as_py()
        if bad >= 0:
            name = self.model.card.name
            raise InputError(f"input of {name}: row {bad + 1}, {predictions.errors[bad].as_py()}")


def _load_pyfunc(path: str) -> TabularPyfunc:
    """What MLflow calls to load a model of ours."""
    return TabularPyfunc(TabularModel.load(Path(path)))


@dataclass(frozen=True)
class LoadedModel:
    """A registered model in memory; of any origin, if MLflow can apply it to a table."""

    registered: RegisteredVersion
    pyfunc: PyFuncModel

    @property
    def tabular(self) -> TabularModel:
        """The model of ours that it is.

        Raises:
            ModelError: it is another one.
        """
        tabular_model = self.own
        if tabular_model is None:
            raise ModelError(f"model {self.registered}: was not trained here: it has no parts")
        return tabular_model

    @property
    def own(self) -> TabularModel | None:
        """The model of ours that it is, if it is one."""
        return unwrap_model(self.pyfunc)

    def predict(self, table: pa.Table, first_row: int = 1) -> Predictions:
        """Predict rows; of a model that is not ours, all or none.

        Raises:
            InputError: a column is missing, or the model cannot take the rows.
        """
        if self.own is not None:
            return self.own.predict(table, first_row)
        try:
            frame = build_signature_frame(self.pyfunc, table, first_row)
            values = pa.nulls(0)
            # Many models refuse a table of no row.
            if table.num_rows:
                values = _column(self.pyfunc.predict(frame), table.num_rows)
        except InputError as error:
            raise InputError(f"input of {self.registered}: {error}") from None
        except Exception as error:  # noqa: BLE001  whatever a foreign model raises
            [reason, *_] = str(error).splitlines() or [type(error).__name__]
            raise InputError(f"model {self.registered}: {reason}") from None
        return Predictions(values, None, pa.nulls(table.num_rows, pa.string()))


def unwrap_model(pyfunc: PyFuncModel) -> TabularModel | None:
    """Unwrap our model from MLflow's interface; None for a foreign model."""
    try:
        raw = cast("Any", pyfunc).get_raw_model()
    except (AttributeError, NotImplementedError, MlflowException):
        return None
    return raw if isinstance(raw, TabularModel) else None


def build_signature_frame(pyfunc: PyFuncModel, table: pa.Table, first_row: int = 1) -> pd.DataFrame:
    """The columns of a model's signature, numbers in its types; all as they are without one.

    MLflow refuses texts for numbers, as CSV has them, and whole numbers for floats.

    Raises:
        InputError: a column is missing, or holds what is no such number.
    """
    schema = cast("Any", pyfunc.metadata).get_input_schema()
    frame = cast("pd.DataFrame", table.to_pandas())
    if schema is None or not schema.has_input_names():
        return frame
    lacking = [name for name in schema.required_input_names() if name not in frame]
    if lacking:
        raise InputError(f"no column {', '.join(lacking)}")
    inputs = [each for each in schema.inputs if each.name in frame]
    return pd.DataFrame({i.name: _convert_type(frame[i.name], i.type, first_row) for i in inputs})


def _convert_type(values: pd.Series[Any], kind: Any, first_row: int) -> pd.Series[Any]:
    if not isinstance(kind, DataType) or kind not in NUMBERS:
        return values
    numbers = pd.to_numeric(values, errors="coerce")
    wrong = numbers.isna()
    if kind in FLOATS:
        wrong &= values.notna() & ~values.isin(MISSING_TEXTS)
    if wrong.any():
        row = int(wrong.to_numpy().argmax())
        raise InputError(
            f"column {values.name}, row {first_row + row}: {values.iloc[row]!r} is no {kind.name}"
        )
    return numbers.astype(kind.to_numpy())


def load(store: ModelStore, model: RegisteredVersion) -> LoadedModel:
    """Load a registered model.

    Raises:
        ModelError: its files are not there, damaged, or of another version.
    """
    client = store.client
    with store.errors(f"model {model}"):
        uri = client.get_model_version_download_uri(model.name, str(model.version))
        return LoadedModel(model, load_model(uri))


def _column(values: Any, count: int) -> pa.Array:
    """Select the one column of a foreign model's output, and check its length.

    Raises:
        ModelError: it is of another length.
        Exception: it is no column.
    """
    selected = select_column(values)
    if len(selected) != count:
        raise ModelError(f"gives {len(selected)} values for {count} rows")
    return selected


def select_column(values: Any) -> pa.Array:
    """The one column of what a model gives: the first of a frame, or an array of n or (n, 1).

    Raises:
        Exception: it is no column.
    """
    if isinstance(values, pa.Array):
        return values
    if isinstance(values, pd.DataFrame):
        values = values.iloc[:, 0]
    if isinstance(values, np.ndarray) and values.shape[1:] == (1,):
        values = values.ravel()
    return pa.array(values, from_pandas=True)


def _frame(predictions: Predictions) -> pd.DataFrame:
    columns = {"prediction": predictions.values.to_pandas()}
    if predictions.probability is not None:
        columns["probability"] = predictions.probability.to_pandas()
    return pd.DataFrame({**columns, "error": predictions.errors.to_pandas()})
