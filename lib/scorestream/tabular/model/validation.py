"""Checks the rows of a table for a model: converts types, and finds the problems of bad rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from scorestream.infra.errors import InputError
from scorestream.tabular.model.config import Column

Flags = npt.NDArray[np.bool_]
# Texts of CSV files that mean that there is no value, unless a column has them among its values.
MISSING_TEXTS: Final = ("", "NA", "NaN", "nan", "null", "None")
_SHOWN_LETTERS: Final = 60
_SHOWN_VALUES: Final = 12


@dataclass(frozen=True)
class Problem:
    """Why a row is bad.

    Attributes:
        row: its number, from 1, not counting a header.
    """

    row: int
    column: str
    text: str

    def __str__(self) -> str:
        """The problem without its row."""
        return f"column {self.column}: {self.text}"


@dataclass(frozen=True)
class CheckedRows:
    """A table's rows with the types of the use case; null where a value is missing or bad.

    Attributes:
        rows: all of them, in order; only columns that the use case has.
        problems: what is wrong with bad rows.
        first_row: number of the first row.
    """

    rows: pa.Table
    problems: list[Problem]
    first_row: int = 1

    @property
    def bad(self) -> Flags:
        """Which rows have a problem."""
        flags = np.zeros(self.rows.num_rows, dtype=np.bool_)
        flags[[problem.row - self.first_row for problem in self.problems]] = True
        return flags

    @property
    def errors(self) -> dict[int, str]:
        """All that is wrong with a bad row, by its place, from 0."""
        texts: dict[int, list[str]] = {}
        for problem in self.problems:
            texts.setdefault(problem.row - self.first_row, []).append(str(problem))
        return {place: "; ".join(row_texts) for place, row_texts in texts.items()}


def check_features(
    table: pa.Table, columns: Mapping[str, Column], where: str, first_row: int = 1
) -> CheckedRows:
    """Check the columns that are features.

    Args:
        table: any columns; those that are no features are not looked at.
        columns: the features.
        where: what the table is called in errors.
        first_row: number of its first row.

    Raises:
        InputError: a column is missing, or is nothing that could be a number or a text.
    """
    lacking = [name for name in columns if name not in table.column_names]
    if lacking:
        raise InputError(
            f"{where}: no column {', '.join(lacking)}; its columns are "
            f"{', '.join(table.column_names) or 'none'}"
        )
    arrays, problems = [], []
    for name, column in columns.items():
        check = _check_numbers if column.kind == "number" else _check_texts
        values, wrong = check(decode_values(table[name]), name, column, where)
        arrays.append(values)
        problems += [Problem(first_row + row, name, text) for row, text in wrong]
    return CheckedRows(pa.table(arrays, names=list(columns)), problems, first_row)


def reject_empty_rows(checked: CheckedRows) -> CheckedRows:
    """Mark rows without any value as bad, too."""
    empty = ~checked.bad
    for values in checked.rows.columns:
        empty &= np.asarray(values.is_null())
    rows = np.flatnonzero(empty) + checked.first_row
    empty_problems = [Problem(row, "(all)", "is missing") for row in rows.tolist()]
    return CheckedRows(checked.rows, [*checked.problems, *empty_problems], checked.first_row)


def _check_numbers(
    values: pa.ChunkedArray, name: str, column: Column, where: str
) -> tuple[pa.Array, list[tuple[int, str]]]:
    numbers, missing = _as_floats(values, name, where)
    for absent in column.absent:
        missing |= numbers == absent
    least = -np.inf if column.min is None else column.min
    most = np.inf if column.max is None else column.max
    typed = np.isfinite(numbers)
    with np.errstate(invalid="ignore"):
        inside = typed & (numbers >= least) & (numbers <= most)
    wrong = ~missing & ~inside
    problems = list(_find_missing(missing, column))
    for row in np.flatnonzero(wrong).tolist():
        value = format_value(values[row].as_py())
        if not typed[row]:
            problems.append((row, f"{value} is no number"))
        else:
            problems.append((row, f"{value} is not {_bounds(column)}"))
    return pa.array(numbers, mask=missing | wrong), problems


def _as_floats(
    values: pa.ChunkedArray, name: str, where: str
) -> tuple[npt.NDArray[np.float64], Flags]:
    """Convert values to numbers, NaN where they are none; returns also which are missing."""
    kind = values.type
    if pa.types.is_string(kind):
        texts = pc.utf8_trim_whitespace(values)
        missing = np.asarray(
            pc.fill_null(pc.is_in(texts, pa.array(MISSING_TEXTS)), fill_value=True)
        )
        missing |= np.asarray(texts.is_null())
        numbers = pd.to_numeric(pd.Series(texts.to_pylist(), dtype=object), errors="coerce")
        return numbers.to_numpy(np.float64, copy=True), missing.copy()
    try:
        numbers = values.cast(pa.float64(), safe=False)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise InputError(f"{where}: column {name} is {kind}, not a number") from None
    floats = np.asarray(pc.fill_null(numbers, np.nan)).copy()
    return floats, np.isnan(floats)


def _bounds(column: Column) -> str:
    if column.min is None:
        return f"at most {column.max:g}"
    if column.max is None:
        return f"at least {column.min:g}"
    return f"between {column.min:g} and {column.max:g}"


def _check_texts(
    values: pa.ChunkedArray, name: str, column: Column, where: str
) -> tuple[pa.Array, list[tuple[int, str]]]:
    try:
        texts = pc.utf8_trim_whitespace(values.cast(pa.string())).combine_chunks()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise InputError(f"{where}: column {name} is {values.type}, not a text") from None
    known = pa.array(column.values or (), pa.string())
    no_value = [text for text in MISSING_TEXTS if text not in (column.values or ())]
    no_value += [str(value) for value in column.absent]
    missing = np.asarray(pc.or_(texts.is_null(), pc.is_in(texts, pa.array(no_value))))
    wrong = np.zeros(len(texts), dtype=np.bool_)
    if column.values is not None:
        wrong = ~missing & ~np.asarray(pc.is_in(texts, known))
    problems = list(_find_missing(missing, column))
    expected = _format_list(column.values or ())
    problems += [
        (row, f"{format_value(values[row].as_py())} is none of {expected}")
        for row in np.flatnonzero(wrong).tolist()
    ]
    known_texts = pc.if_else(pa.array(~missing & ~wrong), texts, pa.scalar(None, pa.string()))
    return known_texts, problems


def decode_values(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Decode dictionary, large and view types, which files may have for texts."""
    kind = values.type
    if pa.types.is_dictionary(kind):
        return decode_values(values.cast(kind.value_type))
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return values.cast(pa.string())
    return values


def _find_missing(missing: Flags, column: Column) -> Iterator[tuple[int, str]]:
    if column.missing == "refuse":
        yield from ((row, "is missing") for row in np.flatnonzero(missing).tolist())


def format_value(value: Any) -> str:
    """Format a value for a message, cut where it is long."""
    text = repr(value)
    return text if len(text) <= _SHOWN_LETTERS else f"{text[:_SHOWN_LETTERS]}…"


def _format_list(values: tuple[str, ...]) -> str:
    shown = ", ".join(values[:_SHOWN_VALUES])
    return shown if len(values) <= _SHOWN_VALUES else f"{shown} and {len(values) - 12} more"
