"""The folder that spark-submit.sh shares with the job it started."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Final

CONTROL_FOLDER: Final = "_SCORESTREAM_CONTROL"
_OUTPUTS: Final = (("stdout", 1), ("stderr", 2))


def control_folder() -> Path | None:
    """The folder; None if spark-submit.sh did not start the job."""
    folder = os.environ.get(CONTROL_FOLDER)
    return Path(folder) if folder else None


def report_progress() -> None:
    """Tell the wrapper that a batch has finished since the start."""
    folder = control_folder()
    if folder is not None:
        # Without room for the file the wrapper gives up earlier: no reason for the job to fail.
        with contextlib.suppress(OSError):
            (folder / "progress").touch()


def restore_outputs() -> None:
    """Write to the wrapper's stdout and stderr themselves.

    spark-submit gives its Python one pipe for both, and may end before it has copied all of it.
    """
    folder = control_folder()
    for name, descriptor in _OUTPUTS:
        if folder is not None and (folder / name).exists():
            opened = os.open(folder / name, os.O_WRONLY | os.O_APPEND)
            os.dup2(opened, descriptor)
            os.close(opened)
