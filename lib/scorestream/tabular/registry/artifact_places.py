"""Files of a training's run, below its folder: what `forget --wallet` does with each kind."""

from __future__ import annotations

from typing import Final

from scorestream.infra.mlflow.model_copies import SAMPLES
from scorestream.infra.storage.places import Place, Treatment

# Those of its model are below `model/`; the first that fits counts.
ARTIFACTS: Final = (
    Place("use_case.json", "the configuration", Treatment.REDACTED),
    Place("profile.json", "distributions, with the values of categories", Treatment.REDACTED),
    Place("bad_rows.csv", "rows that could not be learned from", Treatment.DELETED),
    Place("environment.txt", "packages", Treatment.NOTHING),
    Place("training_rows.bin", "hashes of rows, without their ids", Treatment.NOTHING),
    Place("trials.csv", "hyperparameters", Treatment.NOTHING),
    Place("plots/*", "pictures", Treatment.NOTHING),
    *(Place(f"model/{name}", "sample rows of a model", Treatment.DELETED) for name in SAMPLES),
    Place("judged/*", "what a model has learned", Treatment.TOLD),
    Place("model/*", "what a model has learned", Treatment.TOLD),
)
