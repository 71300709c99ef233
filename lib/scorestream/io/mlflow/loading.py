"""Models out of the registry, for whoever applies them; and how MLflow loads ours.

A model of ours is an MLflow pyfunc whose folder holds JSON and the formats of the families'
libraries: nothing that is executed when it is read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import PyFuncModel, load_model

from scorestream.errors import InputError, ModelError
from scorestream.io.mlflow.registry import Registered
from scorestream.io.mlflow.store import ModelStore
from scorestream.training.model import Predictions, TabularModel

OUTPUT: Final = "output"
OUTPUTS: Final = ("prediction", "probability", "table")


@dataclass(frozen=True)
class Served:
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
        found = self.model.predict(table)
        output = (params or {}).get(OUTPUT, OUTPUTS[0])
        if output == "table":
            return _frame(found)
        self._refuse_bad(found)
        if output == "probability":
            return None if found.probability is None else found.probability.to_pandas()
        return found.values.to_numpy(zero_copy_only=False)

    def get_raw_model(self) -> TabularModel:
        """The model itself."""
        return self.model

    def _refuse_bad(self, found: Predictions) -> None:
        bad = pc.index(found.errors.is_valid(), True).as_py()
        if bad >= 0:
            name = self.model.card.name
            raise InputError(f"input of {name}: row {bad + 1}, {found.errors[bad].as_py()}")


def _load_pyfunc(path: str) -> Served:
    """What MLflow calls to load a model of ours."""
    return Served(TabularModel.load(Path(path)))


@dataclass(frozen=True)
class LoadedModel:
    """A registered model in memory; of any origin, if MLflow can apply it to a table."""

    registered: Registered
    pyfunc: PyFuncModel

    @property
    def tabular(self) -> TabularModel:
        """The model of ours that it is.

        Raises:
            ModelError: it is another one.
        """
        found = self.own
        if found is None:
            raise ModelError(f"model {self.registered}: was not trained here: it has no parts")
        return found

    @property
    def own(self) -> TabularModel | None:
        """The model of ours that it is, if it is one."""
        return own_model(self.pyfunc)

    def predict(self, table: pa.Table, first_row: int = 1) -> Predictions:
        """Predict rows; of a model that is not ours, all or none.

        Raises:
            InputError: a column is missing, or the model cannot take the rows.
        """
        if self.own is not None:
            return self.own.predict(table, first_row)
        schema = cast("Any", self.pyfunc.metadata).get_input_schema()
        names = schema.input_names() if schema is not None and schema.has_input_names() else None
        _refuse_lacking(table, names or (), str(self.registered))
        frame = table.select(names).to_pandas() if names else table.to_pandas()
        try:
            values = self.pyfunc.predict(frame)
        except Exception as error:  # noqa: BLE001  whatever a foreign model raises
            raise InputError(f"model {self.registered}: {str(error).splitlines()[0]}") from None
        return Predictions(_column(values), None, pa.nulls(table.num_rows, pa.string()))


def own_model(pyfunc: PyFuncModel) -> TabularModel | None:
    """The model of ours that is behind MLflow's interface, if it is one."""
    try:
        found = cast("Any", pyfunc).get_raw_model()
    except (AttributeError, NotImplementedError, MlflowException):
        return None
    return found if isinstance(found, TabularModel) else None


def load(store: ModelStore, model: Registered) -> LoadedModel:
    """Load a registered model.

    Raises:
        ModelError: its files are not there, damaged, or of another version.
    """
    client = store.client
    with store.errors(f"model {model}"):
        uri = client.get_model_version_download_uri(model.name, str(model.version))
        return LoadedModel(model, load_model(uri))


def _refuse_lacking(table: pa.Table, names: Sequence[str], what: str) -> None:
    lacking = [name for name in names if name not in table.column_names]
    if lacking:
        raise InputError(f"input of {what}: no column {', '.join(lacking)}")


def _column(values: Any) -> pa.Array:
    """The one column of what a foreign model gives."""
    if isinstance(values, pd.DataFrame):
        values = values.iloc[:, 0]
    return pa.array(values, from_pandas=True)


def _frame(found: Predictions) -> pd.DataFrame:
    columns = {"prediction": found.values.to_pandas()}
    if found.probability is not None:
        columns["probability"] = found.probability.to_pandas()
    return pd.DataFrame({**columns, "error": found.errors.to_pandas()})
