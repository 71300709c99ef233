"""The notebooks run from their first cell to their last; what they claim, they assert."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from scorestream.infra.config.settings import PROJECT_ROOT

FOLDER = PROJECT_ROOT / "notebooks"


def shows(cell: Mapping[str, Any]) -> bool:
    """Whether a cell shows something beside warnings."""
    return any(output.get("name") != "stderr" for output in cell.get("outputs", []))


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_notebook_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Its kernel makes its warehouse there.
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    notebook = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    shown = list(map(shows, notebook.cells))
    folder = {"metadata": {"path": str(FOLDER)}}
    NotebookClient(notebook, timeout=600, kernel_name="python3", resources=folder).execute()
    # What is shown in the repository is what a run shows.
    assert list(map(shows, notebook.cells)) == shown
