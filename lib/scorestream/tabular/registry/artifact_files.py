"""Kinds of files of a training's run, and what `forget --wallet` does with each."""

from __future__ import annotations

from typing import Final

from scorestream.infra.mlflow.model_copies import SAMPLES
from scorestream.infra.storage.file_kinds import FileKind, Treatment

# Those of its model are below `model/`; the first that fits counts.
ARTIFACTS: Final = (
    FileKind("use_case.json", "the configuration", Treatment.REDACTED),
    FileKind("profile.json", "distributions, with the values of categories", Treatment.REDACTED),
    FileKind("bad_rows.csv", "rows that could not be learned from", Treatment.DELETED),
    FileKind("environment.txt", "packages", Treatment.NOTHING),
    FileKind("training_rows.bin", "hashes of rows, without their ids", Treatment.NOTHING),
    FileKind("trials.csv", "hyperparameters", Treatment.NOTHING),
    FileKind("plots/*", "pictures", Treatment.NOTHING),
    *(FileKind(f"model/{name}", "sample rows of a model", Treatment.DELETED) for name in SAMPLES),
    FileKind("judged/*", "what a model has learned", Treatment.REPORTED),
    FileKind("model/*", "what a model has learned", Treatment.REPORTED),
)
