"""The wheel, built as whoever has the sources builds it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Final

from scorestream.infra.config.settings import PROJECT_ROOT, Settings

SOURCES: Final = (
    *("setup.py", "pyproject.toml", "MANIFEST.in", "LICENSE"),
    *("lib", "conf", "samples"),
)
_MADE: Final = shutil.ignore_patterns("__pycache__", "*.egg-info", "BUILD")


def copy_sources(folder: Path) -> None:
    """Copy what the wheel is built from: a build leaves files beside it."""
    folder.mkdir()
    for name in SOURCES:
        source = PROJECT_ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=_MADE)
        else:
            shutil.copy(source, folder)


def bare_environment(**variables: str) -> dict[str, str]:
    """This process's environment without settings, and without other places for modules."""
    dropped = {name.upper() for name in Settings.model_fields} | {"PYTHONPATH", "VIRTUAL_ENV"}
    return {k: v for k, v in os.environ.items() if k not in dropped} | variables
