"""The tests themselves: what unit tests may import, what becomes of skipped ones."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from scorestream.infra.config.settings import PROJECT_ROOT

# Runs pytest in its process, and imports PySpark after that.
THEN_PYSPARK = """
import sys, pytest
pytest.main(["-q", "-p", "no:cacheprovider", "--collect-only", *sys.argv[1:]])
import pyspark
"""


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Python in the project's folder, where it finds what tests import."""
    path = os.pathsep.join(str(PROJECT_ROOT / folder) for folder in ("lib", "."))
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=PROJECT_ROOT,
        env=os.environ | {"PYTHONPATH": path} | environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(("ci", "told"), [("", "1 skipped"), ("true", "1 failed")])
def test_what_is_skipped_has_failed_in_ci(ci: str, told: str, tmp_path: Path) -> None:
    test = tmp_path / "test_skipped.py"
    test.write_text("import pytest\ndef test_it(): pytest.skip('needs a moon')\n")
    ran = run(
        "-m", "pytest", "-ra", "-p", "no:cacheprovider", "-p", "tests.conftest", str(test), CI=ci
    )
    assert told in ran.stdout, ran.stderr
    assert "needs a moon" in ran.stdout


def test_a_run_of_unit_tests_cannot_import_pyspark() -> None:
    ran = run("-c", THEN_PYSPARK, __file__)
    assert "3 tests collected" in ran.stdout, ran.stderr
    assert "ModuleNotFoundError: import of pyspark halted" in ran.stderr
