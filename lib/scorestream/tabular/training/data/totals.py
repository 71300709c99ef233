"""Counts over all rows of a training, also of a table that is too large for one process."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from scorestream.infra.errors import TrainingError
from scorestream.tabular.training.config.use_case import UseCase
from scorestream.tabular.training.data.hashing import row_hashes
from scorestream.tabular.training.data.large_table import LargeTable
from scorestream.tabular.training.data.problems import problem_counts
from scorestream.tabular.training.data.splitting import split_position
from scorestream.tabular.training.data.validation import check_training

_ROWS: Final = "rows"
_HELD_OUT: Final = "held out"
_BAD_ROWS: Final = "bad rows"
_CONTENT: Final = "content"
_BAD_CONTENT: Final = "bad content"
_PROBLEM: Final = "problem "


@dataclass(frozen=True)
class Totals:
    """Counts of a training.

    Attributes:
        rows: that can be learned from.
        held_out: of them.
        bad_rows: how many others cannot.
        bad: their problems, by column and kind; a row may have several.
        data_version: 16 hex digits over all rows, bad ones too, whatever their order.
    """

    rows: int
    held_out: int
    bad_rows: int
    bad: Mapping[str, int]
    data_version: str


def count_in_spark(use_case: UseCase, table: LargeTable) -> Totals:
    """Totals over a table that Spark reads, by one pass over it; repeated rows count as others do.

    Raises:
        TrainingError: too many rows are bad.
    """
    results = table.rows.mapInArrow(_batch_counter(use_case), "counts string").collect()
    counts = sum((Counter(json.loads(row[0])) for row in results), Counter[str]())
    most = use_case.validation.most_bad
    if counts[_BAD_ROWS] > most * (counts[_ROWS] + counts[_BAD_ROWS]):
        raise TrainingError(
            f"{table.path}: {counts[_BAD_ROWS]:,} rows are bad, and {counts[_ROWS]:,} are not; "
            f"validation.most_bad is {most:.0%}: {_problems(counts)}"
        )
    return sum_counts(counts)


def sum_counts(counts: Counter[str]) -> Totals:
    """Compute totals from the counts of all rows."""
    # Sums know no order.
    sums = [counts[name] % (1 << 64) for name in (_CONTENT, _BAD_CONTENT)]
    text = f"{counts[_ROWS]} {counts[_BAD_ROWS]} {sums}"
    version = hashlib.sha256(text.encode()).hexdigest()[:16]
    rows, held_out, bad = (counts[name] for name in (_ROWS, _HELD_OUT, _BAD_ROWS))
    return Totals(rows, held_out, bad, _problems(counts), version)


def count_rows_of(rows: pa.Table, use_case: UseCase) -> Counter[str]:
    """Count raw rows and sum their hashes; results of several parts can be added."""
    checked = check_training(rows, use_case, use_case.name)
    good = checked.rows.filter(pa.array(~checked.bad))
    bad = rows.select(checked.rows.column_names).filter(pa.array(checked.bad))
    held_out = split_position(good, use_case) < use_case.split.held_out
    counts = {
        _ROWS: good.num_rows,
        _HELD_OUT: int(held_out.sum()),
        _BAD_ROWS: bad.num_rows,
        _CONTENT: int(row_hashes(good).sum()),
        _BAD_CONTENT: int(row_hashes(bad).sum()),
    }
    problems = problem_counts(checked.problems)
    return Counter(counts | {_PROBLEM + kind: count for kind, count in problems.items()})


def _batch_counter(
    use_case: UseCase,
) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def count(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        tables = (pa.Table.from_batches([batch]) for batch in batches)
        total = sum((count_rows_of(table, use_case) for table in tables), Counter[str]())
        yield pa.RecordBatch.from_pydict({"counts": [json.dumps(total)]})

    return count


def _problems(counts: Counter[str]) -> dict[str, int]:
    return {
        name.removeprefix(_PROBLEM): count
        for name, count in counts.most_common()
        if name.startswith(_PROBLEM)
    }
