"""Copies of registered models in the warehouse, from which stream and backfill load them.

Workers need the warehouse only, and no registry; the last active version can be loaded while the
registry is away. A copy never changes.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Final
from urllib.parse import quote

import msgspec
from mlflow.artifacts import download_artifacts

from scorestream.infra.config.settings import Settings
from scorestream.infra.mlflow.model_version import Version
from scorestream.infra.mlflow.registry import RegisteredVersion, Registry
from scorestream.infra.mlflow.store import ModelStore
from scorestream.infra.storage.filesystem import (
    copy_folder,
    file_sizes,
    read_text,
    write_text,
)

FOLDER: Final = "_models"
# Sample rows in the folder of a model: nobody applies them.
SAMPLES: Final = ("input_example.json", "serving_input_example.json")
# Written last, with the sizes of all files: a folder without it is not complete.
COMPLETE: Final = "complete.json"
# A stream applies the version that it has rather than wait for minutes, MLflow's default.
PATIENCE: Final = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}


class _ActiveVersions(msgspec.Struct):
    reference: str
    versions: list[Version]
    store: str = ""


class ModelCopies:
    """The copies in a warehouse, and the registry that they are made from."""

    def __init__(self, settings: Settings) -> None:
        """Nothing is asked yet.

        Raises:
            ConfigurationError: the warehouse is no local folder, and no store of models is named.
        """
        for name, value in PATIENCE.items():
            os.environ.setdefault(name, value)
        self._root = f"{settings.warehouse}/{FOLDER}"
        self._is_own = settings.mlflow_tracking_uri is None
        self._store = ModelStore.of(settings)

    def resolve(self, reference: str) -> Version:
        """The version that a reference means now; it may not be copied yet.

        Raises:
            ModelError: there is none, or the registry does not answer.
        """
        with self._store.errors(f"model {reference}"):
            return self._locate(Registry(self._store).resolve(reference))

    def fetch(self, version: Version) -> None:
        """Copy a version into the warehouse, unless all of it is there.

        Whoever else copies the same one at the same time writes the same files.

        Raises:
            ModelError: the registry, or the store of its files, does not give it.
        """
        with self._store.errors(f"model {version}"):
            if _is_whole(version):
                return
            with tempfile.TemporaryDirectory() as folder:
                client = self._store.client
                uri = client.get_model_version_download_uri(version.name, version.version)
                downloaded = Path(download_artifacts(artifact_uri=uri, dst_path=folder))
                for name in SAMPLES:
                    (downloaded / name).unlink(missing_ok=True)
                copy_folder(str(downloaded), version.uri)
                sizes = msgspec.json.encode(file_sizes(str(downloaded)))
            write_text(f"{version.uri}/{COMPLETE}", sizes.decode())

    def record_active_versions(self, reference: str, versions: Sequence[Version]) -> None:
        """Record the version that worked for a whole batch, and behind it the one before."""
        record = _ActiveVersions(reference, list(versions), self._store.shown)
        text = msgspec.json.encode(record).decode()
        write_text(self._record_path(versions[0].name, reference), text)

    def read_active_versions(self, reference: str, name: str) -> list[Version]:
        """Read the versions recorded last for a reference in this registry, the newest first."""
        text = read_text(self._record_path(name, reference)) or read_text(
            self._old_record_path(name, reference)
        )
        if text is None:
            return []
        try:
            record = msgspec.json.decode(text, type=_ActiveVersions)
        except msgspec.MsgspecError:
            # Not ours, or damaged: what the registry names will be recorded again.
            return []
        return [self.relocate(version) for version in record.versions]

    def relocate(self, version: Version) -> Version:
        """The same version with its copy in this warehouse, which may have been moved."""
        folder = version.uri.rpartition("/")[2]
        return Version(version.name, version.version, f"{self._root}/{version.name}/{folder}")

    def _locate(self, model: RegisteredVersion) -> Version:
        # In another registry the same number is another model.
        origin = sha256(f"{model.run_id} {model.source}".encode()).hexdigest()[:8]
        number = str(model.version)
        return Version(model.name, number, f"{self._root}/{model.name}/{number}-{origin}")

    def _record_path(self, name: str, reference: str) -> str:
        # In another registry the same reference is another model.
        store = sha256(self._store.shown.encode()).hexdigest()[:8]
        # The warehouse's own registry moves with it.
        registry = "own" if self._is_own else store
        return f"{self._root}/{name}/{quote(reference, safe='@')}.{registry}.json"

    def _old_record_path(self, name: str, reference: str) -> str:
        """Where earlier versions of this code recorded, which knew one registry only."""
        return f"{self._root}/{name}/{quote(reference, safe='@')}.json"


def _is_whole(version: Version) -> bool:
    """Whether every file of a copy is there, in its full size."""
    text = read_text(f"{version.uri}/{COMPLETE}")
    if text is None:
        return False
    try:
        sizes = msgspec.json.decode(text, type=dict[str, int])
    except msgspec.MsgspecError:
        return False
    return sizes.items() <= file_sizes(version.uri).items()
