"""Files of trainings and of their models, wherever the store keeps them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mlflow.entities import Run, ViewType
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from scorestream.infra.mlflow.store import ModelStore
from scorestream.tabular.registry.tracking import MODEL

# What every training of ours is marked with.
_OURS: Final = "tags.use_case LIKE '%'"
_PAGE: Final = 500


@dataclass(frozen=True)
class TrainingRun:
    """A run of a training, a deleted one too.

    Attributes:
        source: where its rows came from, as it was noted.
        started: unix seconds.
        versions: registered models of it, as references.
    """

    run_id: str
    source: str
    started: float
    artifacts: str
    versions: tuple[str, ...]


@dataclass(frozen=True)
class ArtifactFolder:
    """A folder of files of a training.

    Attributes:
        prefix: of the files' paths as `ARTIFACTS` has them.
    """

    uri: str
    prefix: str

    def files(self, below: str | None = None) -> Iterator[str]:
        """Paths of all files, from the folder."""
        for info in self._repository.list_artifacts(below):
            if info.is_dir:
                yield from self.files(info.path)
            else:
                yield info.path

    def read(self, path: str) -> bytes:
        """The content of a file."""
        with tempfile.TemporaryDirectory() as folder:
            return Path(self._repository.download_artifacts(path, folder)).read_bytes()

    def write(self, path: str, content: bytes) -> None:
        """Replace the content of a file."""
        parent, _, name = path.rpartition("/")
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, name)
            file.write_bytes(content)
            self._repository.log_artifact(str(file), parent or None)

    def delete(self, path: str) -> None:
        """Delete a file."""
        self._repository.delete_artifacts(path)

    @property
    def _repository(self) -> Any:
        return get_artifact_repository(self.uri)


def list_trainings(store: ModelStore) -> list[TrainingRun]:
    """List all our trainings in a store.

    Raises:
        MlflowException: the store failed.
    """
    versions = _list_versions(store)
    return [
        TrainingRun(
            run.info.run_id,
            run.data.tags.get("source", ""),
            run.info.start_time / 1000,
            run.info.artifact_uri,
            tuple(versions.get(run.info.run_id, ())),
        )
        for run in _list_runs(store)
    ]


def list_folders(store: ModelStore, training: TrainingRun) -> Iterator[ArtifactFolder]:
    """List the folders of a training: its run's, and those of its models."""
    yield ArtifactFolder(training.artifacts, "")
    run = store.client.get_run(training.run_id)
    models = store.client.search_logged_models(
        [run.info.experiment_id], filter_string=f"source_run_id = '{training.run_id}'"
    )
    yield from (ArtifactFolder(model.artifact_location, f"{MODEL}/") for model in models)


def _list_runs(store: ModelStore) -> Iterator[Run]:
    client = store.client
    experiments = client.search_experiments(view_type=ViewType.ALL)
    names = [experiment.experiment_id for experiment in experiments]
    token: str | None = None
    while names:
        page = client.search_runs(names, _OURS, ViewType.ALL, _PAGE, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _list_versions(store: ModelStore) -> dict[str, list[str]]:
    """References of the registered versions of each run."""
    references: dict[str, list[str]] = {}
    token: str | None = None
    while True:
        page = store.client.search_model_versions(page_token=token)
        for version in page:
            references.setdefault(version.run_id or "", []).append(
                f"{version.name}/{version.version}"
            )
        token = page.token
        if not token:
            return references
