"""Models of before load, by whatever name they know their loader."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from mlflow.pyfunc import load_model, save_model

import scorestream.tabular.registry  # noqa: F401  before MLflow, which reads its settings then
from scorestream.tabular.model.config import Candidate, Column
from scorestream.tabular.model.trained_model import ModelCard
from scorestream.tabular.registry.loading import unwrap_model
from scorestream.tabular.training.search.learning import Examples, Learner

ROWS = 50


@pytest.mark.parametrize(
    "loader", ["scorestream.io.mlflow.loading", "scorestream.tabular.registry.loading"]
)
def test_a_model_loads_by_the_name_that_it_was_registered_with(loader: str, tmp_path: Path) -> None:
    features = pa.table({"size": np.arange(ROWS, dtype=np.float64)})
    card = ModelCard(
        name="t",
        task="regression",
        target="y",
        labels=(),
        log=False,
        columns={"size": Column(kind="number")},
        averages={"size": 1.0},
    )
    learner = Learner("t", ((Candidate(family="linear"), {}),))
    model = learner.learn(card, Examples(features, np.linspace(0.0, 1.0, ROWS)), seed=1)
    model.save(tmp_path / "data")
    save_model(
        tmp_path / "m", loader_module=loader, data_path=str(tmp_path / "data"), pip_requirements=[]
    )
    own = unwrap_model(load_model(str(tmp_path / "m")))
    assert own is not None
    assert (own.margin(features) == model.margin(features)).all()
