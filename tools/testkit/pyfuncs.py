"""Registered models that are not ours: MLflow pyfuncs of a few lines, in a real store."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import mlflow.pyfunc
import numpy as np
import pandas as pd
from mlflow.models import infer_signature

from scorestream.infra.config.settings import Settings
from scorestream.infra.mlflow.registry import RegisteredVersion, Registry
from scorestream.infra.mlflow.store import ModelStore

CODE: Final = """
import mlflow
import numpy as np
import pandas as pd
{imports}

class Model(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input: pd.DataFrame, params=None):
        rows = model_input
        return {expression}

mlflow.models.set_model(Model())
"""
# What a model may do wrong, as code, and what is told of it.
WRONG: Final = {
    "1 / 0": "division by zero",
    "np.zeros(len(rows) + 1)": "values for",
    "['yes'] * len(rows)": "not numbers",
    "rows['no_such_column']": "no_such_column",
}


def register(
    settings: Settings,
    folder: Path,
    name: str,
    expression: str,
    *,
    columns: tuple[str, ...] = (),
    promote: bool = True,
    modules: Sequence[Path] = (),
    imports: str = "",
) -> RegisteredVersion:
    """Register a model that gives an expression over the frame `rows`, as the champion.

    Args:
        settings: with the store.
        folder: for its code.
        name: of the model.
        expression: Python.
        columns: of its signature, numbers; none: it has no signature.
        promote: whether it is the champion from now on.
        modules: files that it brings along.
        imports: statements that it begins with.
    """
    store = ModelStore.of(settings)
    client = store.client
    known = client.get_experiment_by_name(name)
    artifacts = (folder / "artifacts").as_uri()
    experiment = known.experiment_id if known else client.create_experiment(name, artifacts)
    made_in = client.create_run(experiment).info.run_id
    code = folder / "model.py"
    code.write_text(CODE.format(expression=expression, imports=imports), encoding="utf-8")
    example = pd.DataFrame({column: [0.5] for column in columns})
    signature = infer_signature(example, np.array([0.5])) if columns else None
    # MLflow advises to log an example, too, and a signature.
    logging.getLogger("mlflow.pyfunc").setLevel(logging.ERROR)
    with warnings.catch_warnings(action="ignore"), mlflow.start_run(made_in):
        logged = mlflow.pyfunc.log_model(
            name="model",
            python_model=str(code),
            signature=signature,
            pip_requirements=[],
            code_paths=[str(module) for module in modules] or None,
        )
    registry = Registry(store)
    registered = registry.register(name, logged.model_uri, made_in, name, tags={})
    if promote:
        registry.promote(registered)
    return registered
