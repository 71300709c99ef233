"""The samples that are most like a given one: the same in some columns, nearest in another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from scorestream.infra.errors import InputError
from scorestream.tabular.model.config import Similarity


class SimilarSamples:
    """Samples in an order in which a query is a look-up: exact, whatever their number."""

    def __init__(self, samples: pa.Table, likeness: Similarity) -> None:
        """Sort the samples once.

        Args:
            samples: with the columns of the likeness, and any others. A row without a value in one
                of them is like no other.

        Raises:
            InputError: a column is missing, or the nearest one holds no numbers.
        """
        lacking = {*likeness.same, likeness.nearest} - set(samples.column_names)
        if lacking:
            raise InputError(f"samples: no column {min(lacking)}")
        self._likeness = likeness
        keys = [*likeness.same, likeness.nearest]
        present = np.flatnonzero(
            np.logical_and.reduce([np.asarray(samples[key].is_valid()) for key in keys])
        )
        nearest = self._to_numbers(samples[likeness.nearest].take(pa.array(present)))
        codes = [self._codes(samples[key].take(pa.array(present))) for key in likeness.same]
        by: list[Any] = [nearest, *codes[::-1]]
        order = np.lexsort(by)
        self._samples = samples.take(pa.array(present[order]))
        self._nearest = nearest[order]
        self._groups = self._bounds([code[order] for code in codes])

    def like(self, sample: Mapping[str, Any], count: int) -> pa.Table:
        """The most similar samples, the nearest first; of equal ones, the smaller first.

        Args:
            sample: values of the columns of the likeness.
            count: at most so many.

        Raises:
            InputError: a value is missing, or the nearest one is no number.
        """
        try:
            group = tuple(sample[name] for name in self._likeness.same)
            value = float(sample[self._likeness.nearest])
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"sample: needs a value of each column: {error}") from None
        start, end = self._groups.get(group, (0, 0))
        middle = start + int(np.searchsorted(self._nearest[start:end], value))
        # The nearest of a sorted row are around the place where the value would be.
        first, last = max(start, middle - count), min(end, middle + count)
        gaps = np.abs(self._nearest[first:last] - value)
        chosen = np.argsort(gaps, kind="stable")[:count]
        return self._samples.take(pa.array(first + chosen))

    def _to_numbers(self, values: pa.ChunkedArray) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        try:
            return np.asarray(values.cast(pa.float64()))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            raise InputError(f"samples: column {self._likeness.nearest} is no number") from None

    @staticmethod
    def _codes(values: pa.ChunkedArray) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
        encoded = pc.dictionary_encode(values).combine_chunks()
        return np.asarray(encoded.indices)

    def _bounds(
        self, codes: list[np.ndarray[tuple[int], np.dtype[np.int32]]]
    ) -> dict[tuple[Any, ...], tuple[int, int]]:
        """Of each combination of values the places where its samples begin and end."""
        count = len(self._nearest)
        changed = np.logical_or.reduce([np.diff(code, prepend=-1) != 0 for code in codes])
        starts = np.flatnonzero(changed) if count else np.array([], np.int64)
        ends = np.append(starts[1:], count)[: len(starts)]
        keys = self._samples.select(list(self._likeness.same)).take(pa.array(starts)).to_pydict()
        groups = zip(*keys.values(), strict=True)
        return {
            group: (int(start), int(end))
            for group, start, end in zip(groups, starts, ends, strict=True)
        }
