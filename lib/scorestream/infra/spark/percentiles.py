"""Percentiles in Spark: exact as long as one task can hold the values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from pyspark.sql import Column
from pyspark.sql import functions as F

# Exact percentiles hold all distinct values of a group in the memory of one task.
MAX_EXACT: Final = 2_000_000
# Ranks are off by at most a share of 1 / this of the group.
APPROXIMATE_ACCURACY: Final = 100_000


def percentiles(column: str, percents: Sequence[int], *, exact: bool) -> Column:
    """An aggregate: the values of a column at percentiles, as an array.

    Args:
        column: of doubles.
        percents: from 0 to 100.
        exact: linear interpolation between the two nearest of the n sorted values, at position
            p · (n - 1) from 0; else values near that position, in memory that does not grow with n.
    """
    fractions = [percent / 100 for percent in percents]
    if exact:
        return F.percentile(column, fractions)
    return F.percentile_approx(column, fractions, APPROXIMATE_ACCURACY)
