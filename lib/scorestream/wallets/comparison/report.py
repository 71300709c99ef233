"""A comparison as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from scorestream.infra.display import markdown_text
from scorestream.wallets.comparison.figures import (
    CLASSES,
    PERCENTS,
    Figures,
    Side,
)
from scorestream.wallets.comparison.reasons import Difference, Move

SHOWN_REASONS: Final = 3


def as_markdown(
    left: Side, right: Side, figures: Figures, moves: Sequence[Move], *, picture: str | None = None
) -> str:
    """The report.

    Args:
        moves: the largest ones, the largest first.
        picture: where the picture is, from the report's folder; None for none.
    """
    parts = [f"# {markdown_text(f'{left} against {right}')}", _wallets(left, right, figures)]
    if not figures.both:
        return "\n\n".join([*parts, "No wallet has a score on both sides.", ""])
    parts += [_moment(figures), _moved(figures), _points(figures)]
    if picture is not None:
        parts.append(f"![{markdown_text(f'{left} against {right}')}]({picture})")
    if moves:
        parts += ["## Largest moves", *_models(left, right, moves), _moves(moves)]
    return "\n\n".join([*parts, ""])


def _wallets(left: Side, right: Side, figures: Figures) -> str:
    rows = [
        ["on both sides", f"{figures.both:,}"],
        [f"only {left}", f"{figures.only_left:,}"],
        [f"only {right}", f"{figures.only_right:,}"],
    ]
    return _table(["scored", "wallets"], rows)


def _moment(figures: Figures) -> str:
    if figures.same_moment == figures.both:
        return "Both scores of every wallet speak of one moment."
    return (
        f"The two scores of {figures.both - figures.same_moment:,} wallets speak of different "
        "moments (`as_of`): their moves are not the model's alone."
    )


def _moved(figures: Figures) -> str:
    rows = []
    for name in CLASSES:
        fell, same, rose = (figures.moved.get((name, sign), 0) for sign in (-1, 0, 1))
        total = fell + same + rose
        rows.append([name, f"{total:,}", f"{total / figures.both:.1%}", f"{rose:,}", f"{fell:,}"])
    return _table(["moved by, of the left score", "wallets", "share", "rose", "fell"], rows)


def _points(figures: Figures) -> str:
    names = [f"p{percent}" for percent in PERCENTS]
    values = [f"{value:,.2f}" for value in (*figures.quantiles, figures.largest)]
    rank = figures.rank_correlation
    mean = f"Mean change {figures.mean:+,.2f} points; rank correlation (Spearman) " + (
        "not defined." if rank is None else f"{rank:.6f}."
    )
    return _table(["points moved", *names, "most"], [["", *values]]) + f"\n\n{mean}"


def _models(left: Side, right: Side, moves: Sequence[Move]) -> Iterator[str]:
    """What the reasons can and cannot say."""
    yield "Points of a part are those before the weights of the final score."
    sides = [
        (left, frozenset[str]().union(*(move.only_left for move in moves))),
        (right, frozenset[str]().union(*(move.only_right for move in moves))),
    ]
    others = [f"only {side}: {', '.join(sorted(names))}" for side, names in sides if names]
    if others:
        yield f"The parts of the breakdowns differ ({'; '.join(others)}): common ones are compared."


def _moves(moves: Sequence[Move]) -> str:
    rows = [
        [
            move.wallet,
            f"{move.left:,.2f}",
            f"{move.right:,.2f}",
            f"{move.right - move.left:+,.2f}",
            _parts(move),
            _features(move.features),
        ]
        for move in moves
    ]
    return _table(["wallet", "left", "right", "change", "parts, in points", "features"], rows)


def _parts(move: Move) -> str:
    if not (move.parts or move.only_left or move.only_right):
        return "none: the weights of the final score differ"
    return _listed(f"{d.name} {d.change:+,.2f}" for d in move.parts)


def _features(features: Sequence[Difference]) -> str:
    return _listed(f"{d.name} {d.left:,.6g} → {d.right:,.6g}" for d in features)


def _listed(reasons: Iterable[str]) -> str:
    found = list(reasons)
    more = len(found) - SHOWN_REASONS
    return ", ".join([*found[:SHOWN_REASONS], *([f"{more} more"] if more > 0 else [])]) or "none"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(map(markdown_text, line))} |" for line in lines)
