"""MLflow runs of trainings: parameters, metrics, files and the model."""

from __future__ import annotations

import platform
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import mlflow.pyfunc
import pandas as pd
import pyarrow as pa
from mlflow.entities import Experiment, Metric, Param, RunStatus, RunTag
from mlflow.models import infer_signature
from mlflow.models.signature import ModelSignature
from mlflow.types import ParamSchema, ParamSpec
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID, MLFLOW_RUN_NAME

from scorestream.infra.errors import ModelError
from scorestream.infra.mlflow.store import ModelStore
from scorestream.infra.storage.file_kinds import file_kind_of
from scorestream.tabular.model.families import FAMILIES
from scorestream.tabular.model.trained_model import TabularModel
from scorestream.tabular.registry import loading
from scorestream.tabular.registry.artifact_files import ARTIFACTS
from scorestream.tabular.registry.loading import OUTPUT, OUTPUTS, TabularPyfunc

# What is registered, and what it was judged by: trained without the held-out rows.
MODEL: Final = "model"
JUDGED: Final = "judged"
EXAMPLE_ROWS: Final = 5
_MAX_PARAMS: Final = 100
_MAX_CHARACTERS: Final = 5_000


@dataclass(frozen=True)
class Run:
    """An MLflow run, to write or to read."""

    store: ModelStore
    run_id: str

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Log parameters."""
        entities = [Param(key, str(value)[:_MAX_CHARACTERS]) for key, value in params.items()]
        for start in range(0, len(entities), _MAX_PARAMS):
            some = entities[start : start + _MAX_PARAMS]
            self.store.client.log_batch(self.run_id, params=some)

    def log_metrics(self, metrics: Mapping[str, float]) -> None:
        """Log metrics."""
        time = int(pd.Timestamp.now("UTC").timestamp() * 1000)
        entities = [Metric(key, value, time, 0) for key, value in metrics.items()]
        self.store.client.log_batch(self.run_id, metrics=entities)

    def log_tags(self, tags: Mapping[str, str]) -> None:
        """Log tags."""
        entities = [RunTag(key, value[:_MAX_CHARACTERS]) for key, value in tags.items()]
        self.store.client.log_batch(self.run_id, tags=entities)

    def log_files(self, files: Mapping[str, bytes | str]) -> None:
        """Log files, by their path below the run's folder.

        Raises:
            LookupError: one is of a kind of which nobody has said what `forget` does with it.
        """
        for name in files:
            file_kind_of(name, ARTIFACTS)
        with tempfile.TemporaryDirectory() as temporary:
            for name, content in files.items():
                path = Path(temporary, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content.encode() if isinstance(content, str) else content)
            self.store.client.log_artifacts(self.run_id, temporary)

    def log_folder(self, folder: Path, name: str) -> None:
        """Log a folder of files.

        Raises:
            LookupError: they are of a kind of which nobody has said what `forget` does with it.
        """
        file_kind_of(f"{name}/", ARTIFACTS)
        self.store.client.log_artifacts(self.run_id, str(folder), name)

    def read_file(self, name: str) -> bytes:
        """Read a logged file.

        Raises:
            ModelError: there is none.
        """
        with self.store.errors(f"run {self.run_id}: {name}"), _temporary() as folder:
            path = self.store.client.download_artifacts(self.run_id, name, str(folder))
            return Path(path).read_bytes()

    def read_model(self, name: str) -> TabularModel:
        """Read a model from a logged folder.

        Raises:
            ModelError: there is none, or it is damaged.
        """
        with self.store.errors(f"run {self.run_id}: {name}"), _temporary() as folder:
            path = self.store.client.download_artifacts(self.run_id, name, str(folder))
            return TabularModel.load(Path(path))

    def log_model(self, model: TabularModel, example: pa.Table) -> str:
        """Log a model as an MLflow pyfunc; returns its URI.

        Args:
            example: some rows of raw columns.
        """
        rows = build_input_example(model, example)
        with _temporary() as folder:
            model.save(folder / "data")
            with mlflow.start_run(run_id=self.run_id):
                logged = mlflow.pyfunc.log_model(
                    name=MODEL,
                    loader_module=loading.__name__,
                    data_path=str(folder / "data"),
                    signature=build_signature(model, rows),
                    input_example=rows,
                    pip_requirements=list_requirements(model),
                )
        return str(logged.model_uri)


@contextmanager
def start_run(
    store: ModelStore, experiment: str, name: str, parent: Run | None = None
) -> Iterator[Run]:
    """Start a run of an experiment, which is created if needed; an error marks it as failed.

    Raises:
        ModelError: the store failed.
    """
    with store.errors(f"experiment {experiment}"):
        client = store.client
        existing = client.get_experiment_by_name(experiment)
        if existing is None:
            identity = client.create_experiment(experiment, store.place_of(experiment))
        else:
            _refuse_elsewhere(existing)
            identity = existing.experiment_id
        tags = {MLFLOW_RUN_NAME: name} | ({MLFLOW_PARENT_RUN_ID: parent.run_id} if parent else {})
        run = Run(store, client.create_run(identity, tags=tags).info.run_id)
        try:
            yield run
        except BaseException:
            client.set_terminated(run.run_id, RunStatus.to_string(RunStatus.FAILED))
            raise
        client.set_terminated(run.run_id)


def _refuse_elsewhere(experiment: Experiment) -> None:
    """Refuse an experiment whose files are in whatever folder a command is started in.

    Raises:
        ModelError: they are in another one than this.
    """
    place = experiment.artifact_location
    if re.match("(/|[a-zA-Z][a-zA-Z0-9+.-]*:)", place) or Path(place).exists():
        return
    raise ModelError(
        f"experiment {experiment.name}: its files are in {place}, of the folder in which it was "
        "made: start the command there, or train under another `name`, whose files get a place of "
        "their own"
    )


def build_signature(model: TabularModel, rows: pd.DataFrame) -> ModelSignature:
    """Build the MLflow signature: inputs and outputs of a model."""
    inferred = infer_signature(rows, TabularPyfunc(model).predict(rows))
    outputs = ParamSchema([ParamSpec(OUTPUT, "string", OUTPUTS[0])])
    return ModelSignature(inferred.inputs, inferred.outputs, outputs)


def build_input_example(model: TabularModel, table: pa.Table) -> pd.DataFrame:
    """Build an input example from the first good rows of a table."""
    checked = model.check(table)
    good = checked.rows.filter(pa.array(~checked.bad)).slice(0, EXAMPLE_ROWS)
    return pd.DataFrame(good.to_pandas())


def list_requirements(model: TabularModel) -> list[str]:
    """The packages, pinned as they are here, that apply a model beside this library."""
    families = {FAMILIES[part.family].package for part in model.parts}
    names = {"duckdb", "mlflow-skinny", "numpy", "pandas", "pyarrow", "pydantic", *families}
    return [f"{name}=={metadata.version(name)}" for name in sorted(names)]


def describe_environment() -> str:
    """Python and all installed packages with their versions, a line each."""
    requirements = {f"{d.metadata['Name']}=={d.version}" for d in metadata.distributions()}
    return "\n".join(
        [f"# Python {platform.python_version()}", *sorted(requirements, key=str.lower), ""]
    )


@dataclass(frozen=True)
class PastRun:
    """A finished training."""

    run_id: str
    started: int
    status: str
    metrics: Mapping[str, float]
    tags: Mapping[str, str]


def list_past_runs(store: ModelStore, experiment: str) -> list[PastRun]:
    """The trainings of an experiment, the newest first; those of single candidates are left out."""
    with store.errors(f"experiment {experiment}"):
        client = store.client
        existing = client.get_experiment_by_name(experiment)
        if existing is None:
            return []
        runs: list[PastRun] = []
        token: str | None = None
        while True:
            page = client.search_runs([existing.experiment_id], page_token=token)
            runs += [
                PastRun(
                    r.info.run_id, r.info.start_time, r.info.status, r.data.metrics, r.data.tags
                )
                for r in page
                if MLFLOW_PARENT_RUN_ID not in r.data.tags
            ]
            token = page.token
            if not token:
                return runs


@contextmanager
def _temporary() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)
