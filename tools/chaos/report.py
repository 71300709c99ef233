"""The outcomes as a table: on the terminal, and in docs/reliability.md."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from rich.table import Table

from scorestream.infra.display import cell
from tools.chaos.run import Outcome

HEADINGS: Final = (
    "scenario",
    "fault",
    "injected",
    "expected",
    "seen",
    "recovery",
    "duplicates",
    "losses",
)
# Where the run's own folders were tells nobody anything.
_OWN_FOLDER: Final = re.compile(r"[^\s(]*/scorestream-chaos-\w+/[\w.]+/")
_MARKED: Final = re.compile(r"(<!-- chaos -->\n).*?(<!-- /chaos -->)", re.DOTALL)


def table(outcomes: Sequence[Outcome]) -> Table:
    """For a terminal."""
    made = Table(*HEADINGS, title="Faults")
    for outcome in outcomes:
        made.add_row(*map(cell, _cells(outcome)), style="red" if outcome.error else None)
    return made


def summary(outcomes: Sequence[Outcome], minutes: float) -> str:
    """How many passed, in how long, in one line."""
    failed = sum(bool(outcome.error) for outcome in outcomes)
    skipped = sum(outcome.skipped for outcome in outcomes)
    aside = f", {skipped} skipped" if skipped else ""
    passed = len(outcomes) - failed - skipped
    return f"{passed} of {len(outcomes)} scenarios passed{aside}, {minutes:.1f} min"


def write_table(outcomes: Sequence[Outcome], minutes: float, page: Path) -> None:
    """Put the table into a page, between its two marks."""
    rows = [HEADINGS, ["---"] * len(HEADINGS), *map(_cells, outcomes)]
    lines = [f"| {' | '.join(cell.replace('|', '/') for cell in row)} |\n" for row in rows]
    lines.append(f"\n{summary(outcomes, minutes)}.\n")
    text = page.read_text(encoding="utf-8")
    page.write_text(_MARKED.sub(lambda m: m[1] + "".join(lines) + m[2], text), encoding="utf-8")


def _cells(outcome: Outcome) -> list[str]:
    scenario, delivered = outcome.scenario, outcome.delivered
    recovery = outcome.recovery_seconds
    return [
        scenario.name,
        scenario.fault,
        scenario.injected,
        scenario.expected,
        _OWN_FOLDER.sub("…/", outcome.line if outcome.error else outcome.seen),
        "" if recovery is None else f"{recovery:.0f} s",
        "" if delivered is None else str(delivered.repeated),
        # The checker fails on the first loss.
        "" if delivered is None else "0",
    ]
