"""The MLflow store of runs and models, and the conversion of its errors."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import mlflow
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from scorestream.infra.config.settings import Settings
from scorestream.infra.errors import ModelError
from scorestream.infra.storage.filesystem import as_uri


@dataclass(frozen=True)
class ModelStore:
    """A tracking server or database.

    Attributes:
        uri: as MLflow knows it.
        artifacts: folder or URI of files, where the store has none of its own.
    """

    uri: str = field(repr=False)
    artifacts: str | None

    @classmethod
    def of(cls, settings: Settings) -> ModelStore:
        """The store that the settings name.

        Raises:
            ConfigurationError: the warehouse is no folder, and no store is named.
        """
        return cls(settings.tracking_uri, settings.model_files)

    def place_of(self, experiment: str) -> str | None:
        """Where the files of a new experiment are, as MLflow knows it; None: the store knows."""
        if self.artifacts is None:
            return None
        # MLflow knows this one store by another name than Hadoop.
        return re.sub("^s3a://", "s3://", as_uri(f"{self.artifacts}/{experiment}"))

    @property
    def client(self) -> MlflowClient:
        """A client; a local database is made at first."""
        if self.uri.startswith("sqlite:///"):
            Path(self.uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
        for name in ("alembic", "mlflow", "mlflow.store.db.utils"):
            logging.getLogger(name).setLevel(logging.WARNING)
        # The functions that log models and load them know no store but this global one.
        with _same_environment():
            mlflow.set_tracking_uri(self.uri)
            mlflow.set_registry_uri(self.uri)
        return MlflowClient(self.uri, self.uri)

    @contextmanager
    def errors(self, action: str) -> Iterator[None]:
        """Convert MLflow's errors to `ModelError`.

        Raises:
            ModelError: MLflow failed.
        """
        try:
            yield
        except (MlflowException, OSError) as error:
            text = self._without_password(str(error))
            reason = text.splitlines()[0][:500] if text else type(error).__name__
            raise ModelError(f"{action}: {reason}; the store is {self.shown}") from None

    def _without_password(self, text: str) -> str:
        """An error of MLflow, which may hold the URI, or parts of it with a password."""
        rest = self.uri.partition("://")[2]
        user, at, _ = rest.rpartition("@")
        _, mark, query = rest.partition("?")
        for secret in (user + at, mark + query):
            text = text.replace(secret, "") if secret else text
        return text

    @property
    def shown(self) -> str:
        """The URI without what could be a password."""
        scheme, separator, rest = self.uri.partition("://")
        return f"{scheme}{separator}{rest.rpartition('@')[2].partition('?')[0]}"


@contextmanager
def _same_environment() -> Iterator[None]:
    """Restore the environment that MLflow changes: child processes have their own settings."""
    names = ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI")
    known = {name: os.environ.get(name) for name in names}
    yield
    for name, value in known.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
