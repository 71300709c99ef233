"""The version of the code, as every score carries it."""

from __future__ import annotations

import subprocess
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Final

from scorestream import __version__

# A resource, not a path: a package has the library in a zip file.
BUILD_FILE: Final = files("scorestream") / "BUILD"


@cache
def code_version() -> str:
    """``VERSION+COMMIT`` of the build or checkout, ``.dirty`` where that has changes."""
    if BUILD_FILE.is_file():
        return f"{__version__}+{BUILD_FILE.read_text(encoding='ascii').strip()}"
    commit = _git("describe", "--always", "--abbrev=12", "--exclude=*", "--dirty=.dirty")
    return f"{__version__}+{commit}" if commit else __version__


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(Path(__file__).parent), *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
