"""Selects held-out rows; a row stays held out when others are added."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from scorestream.infra.errors import TrainingError
from scorestream.tabular.training.config.sections import Split
from scorestream.tabular.training.config.use_case import UseCase
from scorestream.tabular.training.data.hashing import row_hashes, shares
from scorestream.tabular.training.data.timestamps import parse_times

Flags = npt.NDArray[np.bool_]
MIN_ROWS: Final = 10


def select_held_out(rows: pa.Table, use_case: UseCase) -> Flags:
    """Select the checked rows to hold out.

    Randomness is the hash of a row's features and target: rows of the same content are on one side.

    Raises:
        TrainingError: one of both sides would have too few rows.
    """
    split = use_case.split
    if split.by == "time":
        is_held_out = _select_latest(rows, split)
    else:
        place = split_position(rows, use_case)
        is_held_out = place < split.held_out
        if split.by == "stratified":
            is_held_out = _select_stratified(place, rows[use_case.target.column], split.held_out)
    if min(is_held_out.sum(), (~is_held_out).sum()) < MIN_ROWS:
        raise TrainingError(
            f"{rows.num_rows} rows, of which {is_held_out.sum()} would be held out: training and "
            f"judgement need {MIN_ROWS} each: give more rows, or mend split.held_out"
        )
    return is_held_out


def split_position(rows: pa.Table, use_case: UseCase) -> npt.NDArray[np.float64]:
    """Compute a number in [0, 1) for each checked row, from its features and target alone.

    Columns carried beside them come as each source has them: texts here, numbers there.
    """
    content = rows.select([*use_case.columns, use_case.target.column])
    return shares(row_hashes(content), use_case.split.seed)


def _select_stratified(
    place: npt.NDArray[np.float64], labels: pa.ChunkedArray, share: float
) -> Flags:
    """Select the rows with the lowest numbers of each label."""
    rank = pd.Series(place).groupby(labels.to_pandas(), dropna=False).rank(method="min", pct=True)
    return np.asarray(rank.to_numpy() <= share)


def _select_latest(rows: pa.Table, split: Split) -> Flags:
    """Select the latest rows up to the share; rows of one time stay together, never all rows."""
    times = parse_times(rows[str(split.column)])
    distinct, counts = np.unique(times, return_counts=True)
    if len(distinct) < 2:
        return np.zeros(len(times), np.bool_)
    later = counts[::-1].cumsum()[::-1] / len(times)
    small = np.flatnonzero(later <= split.held_out)
    first = distinct[small[0] if len(small) else -1]
    return np.asarray(times >= first)
