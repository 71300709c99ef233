"""Checks the rows of a table against a use case: converts types, finds problems."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from scorestream.infra.errors import InputError
from scorestream.tabular.model.config import Column, LabelType
from scorestream.tabular.model.validation import (
    MISSING_TEXTS,
    CheckedRows,
    Problem,
    check_features,
    decode_values,
    format_value,
)
from scorestream.tabular.training.config.sections import Target
from scorestream.tabular.training.config.use_case import UseCase
from scorestream.tabular.training.data.timestamps import parse_times


def check_training(table: pa.Table, use_case: UseCase, where: str) -> CheckedRows:
    """Check features, target and the columns carried beside them; the others are left out.

    The target of an anomaly may be missing, in a row or in all.

    Raises:
        InputError: a column is missing, or is nothing that could be a number or a text.
    """
    if use_case.task == "anomaly" and use_case.target.column not in table.column_names:
        unknown = pa.nulls(table.num_rows, pa.string())
        table = table.append_column(use_case.target.column, unknown)
    checked = check_features(table, {**use_case.columns, **target_column(use_case)}, where)
    rows, problems = checked.rows, list(checked.problems)
    for name in use_case.carried:
        if name not in table.column_names:
            raise InputError(f"{where}: no column {name}; its columns are {table.column_names}")
        if pa.types.is_nested(table[name].type):
            raise InputError(f"{where}: column {name} is {table[name].type}, not a plain value")
        rows = rows.append_column(name, decode_values(table[name]))
    return CheckedRows(
        rows, [*problems, *_find_rows_without_time(rows, use_case.split.column, problems)]
    )


def _find_rows_without_time(
    rows: pa.Table, column: str | None, problems: list[Problem]
) -> Iterator[Problem]:
    """Find rows without a time to split by, unless a problem is known already."""
    if column is None:
        return
    values, known = rows[column], {problem.row for problem in problems if problem.column == column}
    for row in np.flatnonzero(np.isnan(parse_times(values))).tolist():
        value = values[row].as_py()
        missing = str(value).strip() in MISSING_TEXTS
        text = (
            "is missing"
            if missing
            else f"{format_value(value)} is no time (ISO 8601, unix seconds)"
        )
        if row + 1 not in known:
            yield Problem(row + 1, column, text)


def target_column(use_case: UseCase) -> dict[str, Column]:
    """The target as a column that must not be missing, but for an anomaly's."""
    target: Target = use_case.target
    if use_case.task == "anomaly":
        return {target.column: Column(kind="category")}
    if use_case.task == "regression":
        column = Column(kind="number", min=target.min, max=target.max, missing="refuse")
    else:
        column = Column(kind="category", values=target.labels, missing="refuse")
    return {target.column: column}


def find_label_type(rows: pa.Table, use_case: UseCase) -> LabelType:
    """The type of the labels in raw rows: numbers, truth values, or text, as of other targets."""
    if use_case.task != "classification":
        return "string"
    kind = decode_values(rows[use_case.target.column]).type
    if pa.types.is_integer(kind):
        return "int64"
    if pa.types.is_floating(kind):
        return "double"
    return "bool" if pa.types.is_boolean(kind) else "string"
