"""What registered models cost: a wallet each, and a worker once.

    python -m tools.benchmarks.models --folder … [--wallets 20000] [--repeats 5]

prints one JSON line: seconds of scoring the wallets, and by model those of each round of calls in
batches, of the first call in a new process, and the megabytes that it takes. The models: a foreign
pyfunc of one multiplication, and two of ours, logistic and 300 trees.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import astuple
from pathlib import Path
from typing import Any, Final

import mlflow
import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv

from scorestream.infra.config.settings import PROJECT_ROOT, Settings
from scorestream.infra.logs import configure_logs
from scorestream.infra.mlflow.model_version import Version
from scorestream.infra.mlflow.registry import Registry
from scorestream.infra.mlflow.store import ModelStore
from scorestream.tabular.training.job import TrainOptions, train_model
from scorestream.wallets.core.pipeline import score_messages
from scorestream.wallets.execution.configured_scoring import load_scoring
from scorestream.wallets.predictors.active_models import ActiveModels
from scorestream.wallets.predictors.apply import MODEL_COLUMNS, build_model_input, predict_values
from scorestream.wallets.predictors.config import WalletModel
from scorestream.wallets.predictors.events import NoModelEvents
from scorestream.wallets.schema.views import CATALOG
from tools.benchmarks.workload import AS_OF, Workload

BATCH_WALLETS: Final = 500
FOREIGN: Final = """
import mlflow
import pandas as pd

class Model(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input: pd.DataFrame, params=None):
        return model_input["num_swaps"] * 2.0

mlflow.models.set_model(Model())
"""
# What a worker has imported before it applies a model.
FIRST_CALL: Final = """
import time, psutil
import scorestream.wallets.execution.scoring_task
from scorestream.wallets.predictors.apply import predict_values
from scorestream.infra.mlflow.model_version import Version
from scorestream.wallets.predictors.trial import build_trial_rows
process, rows = psutil.Process(), build_trial_rows()
before, started = process.memory_info().rss, time.perf_counter()
predict_values(Version(*{version}), rows)
print(time.perf_counter() - started, (process.memory_info().rss - before) / 1e6)
"""
OURS: Final = {
    "linear": {"family": "logistic", "params": {"C": 1.0}},
    "trees": {"family": "lightgbm", "params": {"n_estimators": 300}},
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--wallets", type=int, default=20_000)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    configure_logs("WARNING")
    folder = arguments.folder / "models"
    folder.mkdir()
    with contextlib.redirect_stdout(sys.stderr):
        scoring, batches = scored_batches(arguments.wallets)
        versions = register_models(folder, pa.concat_tables(batches))
        figures = {name: cost(v, batches, arguments.repeats) for name, v in versions.items()}
    print(json.dumps({"wallets": arguments.wallets, "scoring": scoring, "models": figures}))


def scored_batches(wallets: int) -> tuple[float, list[pa.Table]]:
    """Seconds of scoring the wallets, and what models see of them, batch by batch."""
    conf = PROJECT_ROOT / "conf"
    scoring = load_scoring(conf=conf)
    values = [record.value for record in Workload(wallets).records()]
    moments = np.full(BATCH_WALLETS, AS_OF)
    batches, started = [], time.perf_counter()
    for first in range(0, wallets, BATCH_WALLETS):
        some = values[first : first + BATCH_WALLETS]
        batches.append(
            score_messages(
                some, moments[: len(some)], (scoring,), include_transactions=False
            ).scores
        )
    seconds = time.perf_counter() - started
    return seconds, [build_model_input(batch) for batch in batches]


def cost(version: Version, batches: list[pa.Table], repeats: int) -> dict[str, Any]:
    """Seconds of rounds of calls after one to warm up, and what the first call costs a process."""
    seconds = []
    for _ in range(repeats + 1):
        started = time.perf_counter()
        for rows in batches:
            predict_values(version, rows)
        seconds.append(time.perf_counter() - started)
    return {"seconds": seconds[1:], **first_call(version)}


def first_call(version: Version) -> dict[str, float]:
    """Seconds of the first call in a new process, with imports, and megabytes that it adds."""
    code = FIRST_CALL.format(version=astuple(version))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    seconds, megabytes = map(float, done.stdout.split()[-2:])
    return {"first": seconds, "megabytes": megabytes}


def register_models(folder: Path, rows: pa.Table) -> dict[str, Version]:
    """The models in a store of their own, copied for use, by name."""
    settings = Settings(scorestream_warehouse=str(folder / "warehouse"), mlflow_tracking_uri=None)
    _register_foreign(settings, folder)
    busy = np.asarray(rows["num_swaps"]) + np.random.default_rng(1).normal(0, 3, rows.num_rows)
    label = pa.array(np.where(busy > np.median(busy), "yes", "no"))
    pa_csv.write_csv(rows.append_column("active", label), folder / "rows.csv")
    for name in OURS:
        (folder / f"{name}.yaml").write_text(json.dumps(_use_case(name)), encoding="utf-8")
        train_model(TrainOptions(folder / f"{name}.yaml"), settings, CATALOG)
    return dict(_list_active_versions(settings))


def _use_case(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "description": "Whether a wallet swaps more than most",
        "task": "classification",
        "data": "rows.csv",
        "target": {"column": "active", "labels": ["no", "yes"], "positive": "yes"},
        "columns": {column: {"kind": "number"} for column in MODEL_COLUMNS},
        "search": {"metric": "log_loss", "trials": 1, "folds": 2, "repeats": 1, "workers": 1},
        "candidates": {name: OURS[name]},
    }


def _register_foreign(settings: Settings, folder: Path) -> None:
    store = ModelStore.of(settings)
    experiment = store.client.create_experiment("foreign", (folder / "artifacts").as_uri())
    run_id = store.client.create_run(experiment).info.run_id
    (folder / "foreign.py").write_text(FOREIGN, encoding="utf-8")
    # MLflow advises to log an example, too.
    with warnings.catch_warnings(action="ignore"), mlflow.start_run(run_id):
        logged = mlflow.pyfunc.log_model(
            name="model", python_model=str(folder / "foreign.py"), pip_requirements=[]
        )
    registry = Registry(store)
    registry.promote(registry.register("foreign", logged.model_uri, run_id, "", tags={}))


def _list_active_versions(settings: Settings) -> Iterator[tuple[str, Version]]:
    active_models = ActiveModels(
        [WalletModel(model=n) for n in ("foreign", *OURS)], settings, NoModelEvents()
    )
    active_models.start()
    for batch_model in active_models.batch_models:
        yield batch_model.version.name, batch_model.version


if __name__ == "__main__":
    main()
