"""Copies of registered models in the warehouse, from which stream and backfill apply them.

Workers reach the warehouse, and need no registry; and the last version that served is still there
while the registry is away. A copy never changes.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final, cast

import msgspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from mlflow.artifacts import download_artifacts
from mlflow.pyfunc import PyFuncModel, load_model
from mlflow.types import DataType
from pyarrow.fs import LocalFileSystem, copy_files

from scorestream.errors import ModelError
from scorestream.io.filesystem import exists, filesystem_of, read_text, write_text
from scorestream.io.mlflow.loading import own_model
from scorestream.io.mlflow.registry import Registered, Registry
from scorestream.io.mlflow.store import ModelStore
from scorestream.serving.choices import Version
from scorestream.settings import Settings

FOLDER: Final = "_models"
# Written last: a folder without it is not complete.
COMPLETE: Final = "complete.json"
LAST_GOOD: Final = "last_good.json"
# A stream would rather apply what it has than wait for minutes, as MLflow does by itself.
PATIENCE: Final = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}
NUMBERS: Final = (DataType.integer, DataType.long, DataType.float, DataType.double)
# In a worker: a version, and the one that stands in for it.
MOST_LOADED: Final = 2


class _Noted(msgspec.Struct):
    reference: str
    version: Version


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
        self._store = ModelStore.of(settings)

    def resolve(self, reference: str) -> Version:
        """The version that a reference means now; it may not be copied yet.

        Raises:
            ModelError: there is none, or the registry does not answer.
        """
        with self._store.errors(f"model {reference}"):
            return self._of(Registry(self._store).resolve(reference))

    def fetch(self, version: Version) -> None:
        """Copy a version into the warehouse, unless it is there.

        Raises:
            ModelError: the registry, or the store of its files, does not give it.
        """
        if exists(f"{version.uri}/{COMPLETE}"):
            return
        with self._store.errors(f"model {version}"), tempfile.TemporaryDirectory() as folder:
            client = self._store.client
            uri = client.get_model_version_download_uri(version.name, version.version)
            found = download_artifacts(artifact_uri=uri, dst_path=folder)
            filesystem, path = filesystem_of(version.uri)
            filesystem.create_dir(path, recursive=True)
            copy_files(found, path, LocalFileSystem(), filesystem)
        write_text(f"{version.uri}/{COMPLETE}", msgspec.json.encode(version).decode())

    def note(self, reference: str, version: Version) -> None:
        """Note that a version served a whole batch well."""
        text = msgspec.json.encode(_Noted(reference, version)).decode()
        write_text(self._noted(version.name), text)

    def last_good(self, reference: str, name: str) -> Version | None:
        """The version of a reference that was noted last."""
        text = read_text(self._noted(name))
        if text is None:
            return None
        noted = msgspec.json.decode(text, type=_Noted)
        # The warehouse may have been moved.
        folder = noted.version.uri.rpartition("/")[2]
        here = Version(name, noted.version.version, f"{self._root}/{name}/{folder}")
        return here if noted.reference == reference else None

    def _of(self, found: Registered) -> Version:
        # In another registry the same number is another model.
        origin = sha256(f"{found.run_id} {found.source}".encode()).hexdigest()[:8]
        number = str(found.version)
        return Version(found.name, number, f"{self._root}/{found.name}/{number}-{origin}")

    def _noted(self, name: str) -> str:
        return f"{self._root}/{name}/{LAST_GOOD}"


@dataclass(frozen=True)
class WalletPyfunc:
    """A model in memory, of any origin, as it is applied to wallets."""

    version: Version
    pyfunc: PyFuncModel

    def values(self, rows: pa.Table) -> pa.Array:
        """One float64 a row; null where the model has none.

        Of classifiers of ours the probability, of other models what they predict.

        Raises:
            ModelError: the model gives something else.
            Exception: whatever the model raises.
        """
        own = own_model(self.pyfunc)
        if own is None:
            given: Any = self.pyfunc.predict(self._frame(rows))
        else:
            found = own.predict(rows)
            given = found.values if found.probability is None else found.probability
        return self._checked(given, rows.num_rows)

    def _frame(self, rows: pa.Table) -> pd.DataFrame:
        """The columns of the model's signature, in its types; all as they are without one."""
        frame = rows.to_pandas()
        schema = cast("Any", self.pyfunc.metadata).get_input_schema()
        if schema is None or not schema.has_input_names():
            return cast("pd.DataFrame", frame)
        lacking = [name for name in schema.required_input_names() if name not in frame]
        if lacking:
            raise ModelError(f"model {self.version} needs {', '.join(lacking)}: wallets have none")
        inputs = [each for each in schema.inputs if each.name in frame]
        return pd.DataFrame({each.name: _typed(frame[each.name], each.type) for each in inputs})

    def _checked(self, given: Any, count: int) -> pa.Array:
        values = _one_column(given)
        if values is None:
            raise ModelError(f"model {self.version} gives {type(given).__name__}, not numbers")
        if len(values) != count:
            raise ModelError(f"model {self.version} gives {len(values)} values for {count} wallets")
        if pc.any(pc.is_inf(values)).as_py():
            raise ModelError(f"model {self.version} gives values that are not finite")
        return values


def load_copy(version: Version) -> WalletPyfunc:
    """Load a version from its copy.

    Raises:
        Exception: it cannot be loaded; MLflow and models raise what they like.
    """
    filesystem, path = filesystem_of(version.uri)
    if isinstance(filesystem, LocalFileSystem):
        return WalletPyfunc(version, load_model(path))
    with tempfile.TemporaryDirectory() as folder:
        copy_files(path, folder, filesystem, LocalFileSystem())
        return WalletPyfunc(version, load_model(folder))


_loaded: dict[str, list[WalletPyfunc]] = {}


def loaded_copy(version: Version) -> WalletPyfunc:
    """A version that this process has loaded, or loads now; older ones are dropped.

    Raises:
        Exception: it cannot be loaded.
    """
    known = _loaded.get(version.name, [])
    found = next((model for model in known if model.version == version), None)
    if found is None:
        found = load_copy(version)
        _loaded[version.name] = [found, *known][:MOST_LOADED]
    return found


def loaded_versions(name: str) -> Sequence[Version]:
    """The versions of a model that this process holds, the newest first."""
    return [model.version for model in _loaded.get(name, [])]


def _typed(values: pd.Series[Any], kind: Any) -> pd.Series[Any]:
    """Numbers in the type of a signature; MLflow refuses whole numbers where it wants floats."""
    return values.astype(kind.to_numpy()) if kind in NUMBERS else values


def _one_column(given: Any) -> pa.Array | None:
    """Numbers or truth values as float64, NaN as null; None for anything else."""
    if isinstance(given, pd.DataFrame):
        given = given.iloc[:, 0]
    if isinstance(given, np.ndarray) and given.ndim > 1 and given.shape[1:] == (1,):
        given = given.ravel()
    try:
        values = given if isinstance(given, pa.Array) else pa.array(given, from_pandas=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError, TypeError, ValueError):
        return None
    kind = values.type
    is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
    if not (is_number or pa.types.is_null(kind) or pa.types.is_decimal(kind)):
        return None
    floats = values.cast(pa.float64())
    return pc.if_else(pc.is_nan(floats), None, floats)
