"""MLflow: the store, the model registry, copies of models in the warehouse."""

from __future__ import annotations

import os
from typing import Final

# Read when MLflow is imported, which the modules of this package do: nothing is told to anybody.
_QUIET: Final = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "GIT_PYTHON_REFRESH": "quiet",
}
for _name, _value in _QUIET.items():
    os.environ.setdefault(_name, _value)
