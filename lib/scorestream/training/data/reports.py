"""What jobs tell of trainings on a terminal, and in the files of a run."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Mapping, Sequence

from scorestream.tabular.validation import Problem

EXAMPLES = 3


def problem_counts(problems: Sequence[Problem]) -> dict[str, int]:
    """How many rows have a problem, by column and kind of problem, the values left out."""
    return dict(Counter(f"{p.column}: {_kind(p.text)}" for p in problems).most_common())


def problems_csv(problems: Sequence[Problem]) -> str:
    """All problems, a line each."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["row", "column", "problem"])
    writer.writerows([p.row, p.column, p.text] for p in problems)
    return out.getvalue()


def trials_csv(trials: Sequence[Mapping[str, object]]) -> str:
    """The trials of a search, a line each."""
    out = io.StringIO()
    names = list(dict.fromkeys(name for trial in trials for name in trial))
    writer = csv.DictWriter(out, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(trials)
    return out.getvalue()


def first_problems(problems: Sequence[Problem]) -> str:
    """The first of the problems, for one line."""
    shown = "; ".join(f"row {p.row}, {p}" for p in problems[:EXAMPLES])
    more = len(problems) - EXAMPLES
    return f"{shown} and {more:,} more" if more > 0 else shown


def _kind(text: str) -> str:
    """A problem without the value that has it, or the row that it repeats."""
    text = re.sub(r"^is row \d+ again", "is another row again", text)
    return text[text.index(" is ") + 1 :] if " is " in text else text
