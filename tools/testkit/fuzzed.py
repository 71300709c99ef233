"""Hostile messages as `make fuzz` makes them, and bombs, in processes of their own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from scorestream.infra.config.settings import PROJECT_ROOT
from tools.testkit.bombs import BOMBS


def fuzz(*arguments: str, code: str = "") -> subprocess.CompletedProcess[str]:
    folders = [os.environ.get("PYTHONPATH", ""), *("lib", ".")]
    path = os.pathsep.join(str(PROJECT_ROOT / folder) for folder in folders)
    command = ["-c", code, *arguments] if code else ["-m", "tools.chaos.fuzzing", *arguments]
    return subprocess.run(
        [sys.executable, *command],
        cwd=PROJECT_ROOT,
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


def check_nothing_breaks(engine: str, seconds: int, findings: Path) -> None:
    """Fuzz for some seconds."""
    done = fuzz("--seconds", str(seconds), "--engine", engine, "--findings", str(findings))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("nothing broke\n")
    runs = re.findall(r"(\d+) runs", done.stdout)
    assert int(runs[-1]) > 0
    assert re.search(r"scored +\d+", done.stdout)
    assert list(findings.iterdir()) == []


def check_bombs(megabytes: int) -> None:
    """Decode every bomb of a size, with little memory."""
    done = subprocess.run(
        [sys.executable, str(PROJECT_ROOT / "tools" / "testkit" / "bombs.py"), str(megabytes)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {name: code for name, (_, code) in BOMBS.items()}
