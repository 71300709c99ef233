"""Unit tests run where PySpark cannot be imported."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def pytest_configure(config: pytest.Config) -> None:
    """Refuse the import, unless other tests run in this process, too."""
    chosen = [Path(argument.partition("::")[0]).resolve() for argument in config.args]
    if all(path.is_relative_to(HERE) for path in chosen):
        # What Python documents: an import of it raises ModuleNotFoundError.
        sys.modules["pyspark"] = None  # type: ignore[assignment]
