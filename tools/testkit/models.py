"""Use cases that train in seconds, over the samples and over made-up tables."""

from __future__ import annotations

import csv
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from scorestream.infra.config.settings import PROJECT_ROOT, Settings
from scorestream.infra.mlflow.registry import RegisteredVersion, Registry
from scorestream.infra.mlflow.store import ModelStore
from scorestream.tabular.registry.tracking import Run
from scorestream.tabular.training.data.ingest import read_at_most
from scorestream.tabular.training.job import TrainOptions, train_model
from scorestream.wallets.schema.views import CATALOG

LOANS: Final = PROJECT_ROOT / "conf" / "models" / "loan_approval.yaml"
DIAMONDS: Final = PROJECT_ROOT / "conf" / "models" / "diamonds.yaml"
LOAN_ROWS: Final = PROJECT_ROOT / "samples" / "loan_approval.csv"
DIAMOND_ROWS: Final = PROJECT_ROOT / "samples" / "diamonds.csv"

SMALL: Final = ("search.trials=1", "search.folds=3", "search.repeats=1", "search.workers=1")
BOOSTED: Final = (
    *SMALL,
    "blend=[]",
    "candidates={boosted: {family: lightgbm, params: {n_estimators: 60, min_data_in_leaf: 5}}}",
)
LINEAR: Final = "candidates={plain: {family: logistic, params: {C: 0.01}, features: [cibil_score]}}"


def settings_of(folder: Path) -> Settings:
    """Settings of a warehouse of its own, with MLflow's database in it."""
    return Settings(scorestream_warehouse=str(folder / "warehouse"), mlflow_tracking_uri=None)


def train(
    settings: Settings,
    config: Path,
    *changes: str,
    data: Path | None = None,
    append: Path | None = None,
) -> None:
    """Train as the job does."""
    paths = (str(data) if data else None, str(append) if append else None)
    train_model(TrainOptions(config, *paths, changes), settings, CATALOG)


def registry_of(settings: Settings) -> Registry:
    return Registry(ModelStore.of(settings))


def run_of(settings: Settings, model: RegisteredVersion) -> Run:
    return Run(ModelStore.of(settings), model.run_id)


def loans(count: int | None = None) -> list[dict[str, str]]:
    """Rows of the sample as CSV has them."""
    with LOAN_ROWS.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))[:count]


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def table_of(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Rows as an Arrow table of their own types."""
    return pa.Table.from_pylist([dict(row) for row in rows])


def read_table(path: str) -> pa.Table:
    """All rows of a CSV, Parquet or Delta table."""
    rows = read_at_most(path, sys.maxsize)
    assert rows is not None
    return rows
