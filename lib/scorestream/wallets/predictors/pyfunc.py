"""Registered models in a Python worker: loaded once from their copies, called once per batch."""

from __future__ import annotations

import os
import stat
import sys
import tempfile
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from mlflow.pyfunc import PyFuncModel, load_model
from pyarrow.fs import LocalFileSystem

from scorestream.infra.errors import InputError, ModelError
from scorestream.infra.mlflow.model_version import Version
from scorestream.infra.storage.filesystem import copy_folder, file_sizes, filesystem_of
from scorestream.tabular.registry.loading import build_signature_frame, select_column, unwrap_model

# A worker holds a version and its fallback.
MAX_LOADED: Final = 2


class CopyModules:
    """Modules that a copy ships, importable only while its model is loaded or called.

    MLflow leaves them to the process, where the next version, or another model, would import the
    same name and get the code of this one.
    """

    def __init__(self, folder: str) -> None:
        self._folder = f"{folder.rstrip('/')}/"
        self._path: list[str] = []
        self._modules: dict[str, ModuleType] = {}

    def __enter__(self) -> None:
        sys.path[:0] = self._path
        sys.modules.update(self._modules)

    def __exit__(self, *_error: object) -> None:
        self._modules = {name: m for name, m in list(sys.modules.items()) if self._is_own(m)}
        for name in self._modules:
            del sys.modules[name]
        self._path = [path for path in sys.path if path.startswith(self._folder)]
        sys.path[:] = [path for path in sys.path if path not in self._path]

    def _is_own(self, module: ModuleType) -> bool:
        # Looked up without the module's own `__getattr__`, by which lazy ones import themselves.
        names = getattr(module, "__dict__", {})
        places = [names.get("__file__"), *(names.get("__path__") or ())]
        return any(isinstance(p, str) and p.startswith(self._folder) for p in places)


@dataclass(frozen=True)
class WalletPyfunc:
    """A loaded model of any origin, applied to wallets."""

    version: Version
    pyfunc: PyFuncModel
    code: CopyModules

    def predict(self, rows: pa.Table) -> pa.Array:
        """Predict one float64 per row, null where the model has none.

        Classifiers of ours give the probability, all other models their prediction.

        Raises:
            ModelError: the model returns something else.
            Exception: whatever the model raises.
        """
        own = unwrap_model(self.pyfunc)
        if own is None:
            with self.code:
                output: Any = self.pyfunc.predict(self._build_frame(rows))
        else:
            predictions = own.predict(rows)
            has_probability = predictions.probability is not None
            output = predictions.probability if has_probability else predictions.values
        return self._check(output, rows.num_rows)

    def _build_frame(self, rows: pa.Table) -> pd.DataFrame:
        try:
            return build_signature_frame(self.pyfunc, rows)
        except InputError as error:
            raise ModelError(f"model {self.version}: {error}") from None

    def _check(self, output: Any, count: int) -> pa.Array:
        values = _convert_to_floats(output)
        if values is None:
            raise ModelError(f"model {self.version} gives {type(output).__name__}, not numbers")
        if len(values) != count:
            raise ModelError(f"model {self.version} gives {len(values)} values for {count} wallets")
        return values


def load_copy(version: Version) -> WalletPyfunc:
    """Load a version from its copy.

    Raises:
        Exception: it cannot be loaded; MLflow and models raise what they like.
    """
    path = fetch_local_folder(version.uri)
    code = CopyModules(path)
    with code:
        return WalletPyfunc(version, load_model(path), code)


def fetch_local_folder(uri: str) -> str:
    """The folder of a copy on this machine, where models may read their files at every call.

    Files of an object store are fetched once for all processes, and stay when these end.

    Raises:
        ModelError: the folder for them belongs to somebody else.
        OSError: they cannot be read, or not be written.
    """
    filesystem, path = filesystem_of(uri)
    if isinstance(filesystem, LocalFileSystem):
        return path
    folder = str(_make_private_folder() / sha256(uri.encode()).hexdigest()[:32])
    if file_sizes(folder) != file_sizes(uri):
        copy_folder(uri, folder)
    return folder


def _make_private_folder() -> Path:
    """Make a temporary folder that only this user can write to, as models may be code."""
    folder = Path(tempfile.gettempdir()) / f"scorestream-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise ModelError(f"{folder}: is not this user's alone: remove it")
    return folder


_loaded: dict[str, list[WalletPyfunc]] = {}


def get_loaded_copy(version: Version) -> WalletPyfunc:
    """Get a version from this process's cache, or load it; older versions are dropped.

    Raises:
        Exception: it cannot be loaded.
    """
    known = _loaded.get(version.name, [])
    model = next((model for model in known if model.version == version), None)
    if model is None:
        model = load_copy(version)
        _loaded[version.name] = [model, *known][:MAX_LOADED]
    return model


def _convert_to_floats(output: Any) -> pa.Array | None:
    """Convert numbers or booleans to float64, null where not finite; None for anything else."""
    try:
        values = select_column(output)
    except (pa.ArrowInvalid, pa.ArrowTypeError, TypeError, ValueError):
        return None
    kind = values.type
    is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
    if not (is_number or pa.types.is_null(kind) or pa.types.is_decimal(kind)):
        return None
    floats = values.cast(pa.float64())
    return pc.if_else(pc.is_finite(floats), floats, None)
