"""Counts the progress that a task reports, in place of its heartbeat."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from scorestream.infra.spark import heartbeat


@dataclass
class ProgressCounter:
    """Counts the units of work that a task reports as done."""

    units: int = 0

    def report_progress(self) -> None:
        """Count a unit."""
        self.units += 1


def count_progress(monkeypatch: pytest.MonkeyPatch) -> ProgressCounter:
    """Have the code of tasks report to a counter, in this process."""
    counter = ProgressCounter()
    monkeypatch.setattr(heartbeat, "_task", counter)
    return counter
