"""A comparison as one SVG of two panels: left against right, and how far the scores moved.

Drawn by hand: some hundred rectangles are no reason to bring a plotting library to every job.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Final

from scorestream.infra.display import html_text
from scorestream.wallets.comparison.figures import BARS, CELLS, Figures

SIZE: Final = 384
TOP: Final = 40
PANELS: Final = (70, 560)
WIDTH, HEIGHT = 980, 480
INK: Final = "#1f3a5f"
TICKS: Final = 4


def as_svg(
    left: str,
    right: str,
    figures: Figures,
    *,
    cells: Mapping[tuple[int, int], int],
    bars: Mapping[int, int],
) -> str:
    """The picture.

    Args:
        left: what the left side is called.
        right: what the right side is called.
        cells: pairs by the cell of their scores, as `cells_of` counts them.
        bars: wallets by the step of their change, as `bars_of` counts them.
    """
    box = f'viewBox="0 0 {WIDTH} {HEIGHT}"'
    text = 'font-family="sans-serif" font-size="12" fill="#222"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" {box} {text}>',
            f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
            *_scores(left, right, figures, cells),
            *_changes(figures, bars),
            "</svg>",
            "",
        ]
    )


def _scores(
    left: str, right: str, figures: Figures, cells: Mapping[tuple[int, int], int]
) -> Iterator[str]:
    x0, side = PANELS[0], SIZE / CELLS
    yield from _panel(x0, f"{figures.both:,} wallets, darker: more", f"score of {left}")
    most = max(cells.values(), default=1)
    for (x, y), count in sorted(cells.items()):
        # By logarithm: one pair must be seen beside a cell of many thousands.
        ink = 0.2 + 0.8 * math.log(count + 1) / math.log(most + 1)
        at = f'x="{x0 + x * side:g}" y="{TOP + SIZE - (y + 1) * side:g}"'
        yield f'<rect {at} width="{side:g}" height="{side:g}" fill="{INK}" opacity="{ink:.3f}">'
        yield f"<title>{count:,}</title></rect>"
    yield f'<path d="M{x0} {TOP + SIZE}l{SIZE} -{SIZE}" stroke="#c33" stroke-dasharray="4 4"/>'
    yield from _ticks(x0, figures.lowest, figures.highest)
    yield from _heights(x0, figures.lowest, figures.highest)
    middle = TOP + SIZE / 2
    turned = f'transform="rotate(-90 16 {middle:g})"'
    name = html_text(f"score of {right}")
    yield f'<text x="16" y="{middle:g}" {turned} text-anchor="middle">{name}</text>'


def _changes(figures: Figures, bars: Mapping[int, int]) -> Iterator[str]:
    x0, step = PANELS[1], SIZE / BARS
    moved = sum(bars.values())
    title = f"{moved:,} wallets that moved; {figures.both - moved:,} did not"
    yield from _panel(x0, title, "change in points")
    most = max(bars.values(), default=1)
    for bar, count in sorted(bars.items()):
        height = SIZE * count / most
        at = f'x="{x0 + bar * step:.2f}" y="{TOP + SIZE - height:.2f}"'
        yield f'<rect {at} width="{step * 0.9:.2f}" height="{height:.2f}" fill="{INK}">'
        yield f"<title>{count:,}</title></rect>"
    largest = figures.largest or 1.0
    yield from _ticks(x0, -largest, largest)
    yield from _heights(x0, 0, most)


def _panel(x0: int, title: str, below: str) -> Iterator[str]:
    yield f'<rect x="{x0}" y="{TOP}" width="{SIZE}" height="{SIZE}" fill="none" stroke="#999"/>'
    middle = x0 + SIZE / 2
    for y, text in ((TOP - 14, title), (TOP + SIZE + 40, below)):
        yield f'<text x="{middle:g}" y="{y}" text-anchor="middle">{html_text(text)}</text>'


def _ticks(x0: int, lowest: float, highest: float) -> Iterator[str]:
    for i in range(TICKS + 1):
        value = lowest + (highest - lowest) * i / TICKS
        at = f'x="{x0 + SIZE * i / TICKS:g}" y="{TOP + SIZE + 18}"'
        yield f'<text {at} text-anchor="middle">{value:,.4g}</text>'


def _heights(x0: int, lowest: float, highest: float) -> Iterator[str]:
    for i in range(TICKS + 1):
        value = lowest + (highest - lowest) * i / TICKS
        at = f'x="{x0 - 6}" y="{TOP + SIZE - SIZE * i / TICKS + 4:g}"'
        yield f'<text {at} text-anchor="end">{value:,.4g}</text>'
