"""`make bench` measures all of its parts; how fast they are is no matter of tests."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from scorestream.infra.config.settings import PROJECT_ROOT


@pytest.mark.timeout(1800)
def test_a_quick_run_measures_every_part(tmp_path: Path) -> None:
    done = subprocess.run(
        ["make", "bench", f"BENCH=--quick --output {tmp_path}"],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    page = (tmp_path / "benchmarks.md").read_text(encoding="utf-8")
    assert re.findall("^## (.*)", page, re.MULTILINE) == [
        "Against the parser",
        "Limits, and the core alone",
        "The stream drains a topic",
        "Latency",
        "A long backfill",
        "A restart",
        "Commits to an old table",
        "Registered models",
        "Peers",
    ]
    for row in (
        "| backfill from `transactions` |",
        "| core with history |",
        "| stream, 1 % corrupt |",
        "| standalone cluster, two workers of one core |",
        "| 1,000 a minute |",
        "| wallets | transactions | s | wallets/s |",
        "| foreign |",
        "| Polars, expressions, two threads |",
        "| Quix Streams with our core, one process |",
        "| Spark's source and sinks, `score_messages` |",
    ):
        assert row in page
    assert "<svg" in (tmp_path / "benchmarks.svg").read_text(encoding="utf-8")
