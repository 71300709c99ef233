"""Modules of the benchmark run as processes of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from scorestream.infra.config.settings import PROJECT_ROOT


def run_json(module: str, *arguments: str) -> dict[str, Any]:
    """Run a module as a process; what its last line on stdout says."""
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=PROJECT_ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return result
