"""Renders a drift report: a page for people, and JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from scorestream.infra.display import html_text
from scorestream.tabular.drift.measures import ColumnDrift
from scorestream.tabular.training.config.sections import Drift
from scorestream.tabular.training.runs.profile import Profile

_STYLE: Final = """
body { font: 14px sans-serif; color: #222; max-width: 70em; margin: 2em auto; }
table { border-collapse: collapse; } th, td { padding: .3em .7em; text-align: right; }
th:first-child, td:first-child { text-align: left; } tr { border-bottom: 1px solid #ddd; }
.drifted { background: #fbe3e3; } rect.before { fill: #b8c4d6; } rect.now { fill: #1f3a5f; }
"""
_COLUMNS: Final = (
    "column",
    "PSI",
    "by chance below",
    "missing, trained",
    "missing, now",
    "distribution",
)
_BAR: Final = 9
_HEIGHT: Final = 36


@dataclass(frozen=True)
class Reported:
    """What a report is about.

    Attributes:
        version: of the model.
        source: of the data.
        rows: how many rows were compared.
        count: how many rows the data have.
    """

    version: str
    source: str
    rows: int
    count: int


def render_json(profile: Profile, reported: Reported, drifts: Sequence[ColumnDrift]) -> str:
    """Render the report as JSON."""
    content = {
        "model": profile.name,
        "version": reported.version,
        "trained_on": profile.data_version,
        "data": reported.source,
        "rows": reported.count,
        "sample": reported.rows,
        "drifted": [drift.name for drift in drifts if drift.drifted],
        "columns": {
            drift.name: {
                "psi": drift.psi,
                "chance": drift.chance,
                "missing": drift.missing,
                "missing_before": drift.missing_before,
                "drifted": drift.drifted,
            }
            for drift in drifts
        },
    }
    return json.dumps(content, indent=1) + "\n"


def render_html(
    profile: Profile, reported: Reported, limits: Drift, drifts: Sequence[ColumnDrift]
) -> str:
    """Render the report as a page."""
    rows, count = reported.rows, reported.count
    title = html_text(f"Drift of {profile.name} {reported.version}")
    drifted = sum(drift.drifted for drift in drifts)
    decision = f"{drifted} of {len(drifts)} columns drifted" if drifted else "no column drifted"
    seen = f"{rows:,}" if rows == count else f"A sample of {rows:,} of {count:,}"
    summary = (
        f"<p><b>{decision}.</b> {seen} rows of {html_text(reported.source)} against "
        f"{profile.rows:,} rows of the training "
        f"(data version {html_text(profile.data_version)}).</p>"
    )
    meaning = (
        f"<p>Drift: a population stability index above {limits.psi:g} and above what chance gives, "
        f"or {limits.missing:.0%} more missing values. Bars: light as trained, dark now.</p>"
    )
    head = f'<head><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style></head>'
    names = "".join(f"<th>{name}</th>" for name in _COLUMNS)
    body = f"<body><h1>{title}</h1>{summary}{meaning}<table><tr>{names}</tr>"
    rest = "</table></body></html>\n"
    return "\n".join([f'<!DOCTYPE html><html lang="en">{head}', body, *map(_row, drifts), rest])


def _row(drift: ColumnDrift) -> str:
    cells = [
        html_text(drift.name),
        f"{drift.psi:.4f}",
        f"{drift.chance:.4f}",
        f"{drift.missing_before:.2%}",
        f"{drift.missing:.2%}",
        "".join(_bars(drift)),
    ]
    kind = ' class="drifted"' if drift.drifted else ""
    return f"<tr{kind}>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _bars(drift: ColumnDrift) -> Iterator[str]:
    pairs = list(zip(drift.profile.bins, drift.profile.shares, drift.shares, strict=True))
    highest = max([*drift.profile.shares, *drift.shares, 1e-9])
    yield f'<svg width="{len(pairs) * (2 * _BAR + 4)}" height="{_HEIGHT}">'
    for place, (name, before, now) in enumerate(pairs):
        yield f"<g><title>{html_text(name)}: {before:.1%} → {now:.1%}</title>"
        for kind, share, x in (("before", before, 0), ("now", now, _BAR)):
            height = _HEIGHT * share / highest
            at = f'x="{place * (2 * _BAR + 4) + x}" y="{_HEIGHT - height:.1f}"'
            yield f'<rect class="{kind}" {at} width="{_BAR}" height="{height:.1f}"/>'
        yield "</g>"
    yield "</svg>"
