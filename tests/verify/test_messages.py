"""Hostile messages for longer, and as large as they may be."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.testkit.fuzzed import check_bombs, check_nothing_breaks


# The engine that watches the code needs half a minute to look at all of it.
@pytest.mark.parametrize(("engine", "seconds"), [("coverage", 35), ("random", 10)])
def test_nothing_breaks_for_as_long_as_we_have(engine: str, seconds: int, tmp_path: Path) -> None:
    check_nothing_breaks(engine, seconds, tmp_path)


def test_bombs_cost_no_more_memory_than_they_may() -> None:
    check_bombs(50)
