"""Summaries of the problems of rows."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from scorestream.tabular.model.validation import Problem

EXAMPLES = 3


def problem_counts(problems: Sequence[Problem]) -> dict[str, int]:
    """How many rows have a problem, by column and kind of problem, the values left out."""
    return dict(Counter(f"{p.column}: {_kind(p.text)}" for p in problems).most_common())


def first_problems(problems: Sequence[Problem]) -> str:
    """The first of the problems, for one line."""
    shown = "; ".join(f"row {p.row}, {p}" for p in problems[:EXAMPLES])
    more = len(problems) - EXAMPLES
    return f"{shown} and {more:,} more" if more > 0 else shown


def _kind(text: str) -> str:
    """A problem without the value that has it, or the row that it repeats."""
    text = re.sub(r"^is row \d+ again", "is another row again", text)
    return text[text.index(" is ") + 1 :] if " is " in text else text
