"""Rows checked: types, ranges, categories, missing values; problems with row and column."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from scorestream.infra.errors import InputError
from scorestream.tabular.model.config import Column
from scorestream.tabular.model.validation import check_features

NUMBER = Column(kind="number")
GRADE = Column(kind="ordinal", values=("low", "high"))

CASES: list[tuple[Column, list[Any], list[Any], list[tuple[int, str]]]] = [
    (NUMBER, ["1", " 2.5 ", "1e3", "-7"], [1.0, 2.5, 1000.0, -7.0], []),
    (NUMBER, ["", "NA", "nan", None], [None] * 4, []),
    (NUMBER, ["x", "inf", "1,5"], [None] * 3, [(1, "'x' is no"), (2, "'inf'"), (3, "'1,5' is no")]),
    (NUMBER, [1, None, 3], [1.0, None, 3.0], []),
    (Column(kind="number", absent=(0,)), [0.0, 4.0], [None, 4.0], []),
    (Column(kind="number", min=0), [-1.0, 0.0], [None, 0.0], [(1, "-1.0 is not at least 0")]),
    (Column(kind="number", max=9), ["10"], [None], [(1, "'10' is not at most 9")]),
    (Column(kind="number", min=1, max=2), [3], [None], [(1, "3 is not between 1 and 2")]),
    (Column(kind="number", missing="refuse"), ["", "1"], [None, 1.0], [(1, "is missing")]),
    (GRADE, ["low", " high ", ""], ["low", "high", None], []),
    (GRADE, ["Low", "NA"], [None, None], [(1, "'Low' is none of low, high")]),
    (Column(kind="category", values=("NA", "EU")), ["NA", ""], ["NA", None], []),
    (Column(kind="category", absent=("?",)), ["?", "a"], [None, "a"], []),
    (Column(kind="category"), [1, 2], ["1", "2"], []),
]


@pytest.mark.parametrize(("column", "given", "kept", "problems"), CASES)
def test_values_are_typed_or_told(
    column: Column, given: list[Any], kept: list[Any], problems: list[tuple[int, str]]
) -> None:
    checked = check_features(pa.table({"c": given}), {"c": column}, "t")
    assert checked.rows["c"].to_pylist() == kept
    assert len(checked.problems) == len(problems)
    for problem, (row, text) in zip(checked.problems, problems, strict=True):
        assert (problem.row, problem.column) == (row, "c")
        assert problem.text.startswith(text)


def test_rows_are_numbered_on_from_the_batches_before() -> None:
    table = pa.table({"a": ["1", "x"], "b": ["y", "low"]})
    checked = check_features(table, {"a": NUMBER, "b": GRADE}, "t", first_row=101)
    assert [(p.row, p.column) for p in checked.problems] == [(102, "a"), (101, "b")]
    assert checked.bad.tolist() == [True, True]
    assert checked.errors == {
        1: "column a: 'x' is no number",
        0: "column b: 'y' is none of low, high",
    }


@pytest.mark.parametrize(
    "values",
    [
        pa.array(["1", "2"], pa.large_string()),
        pa.array(["1", "2"]).dictionary_encode(),
        pa.array([1, 2], pa.decimal128(9, 2)),
        pa.array([1, 2], pa.uint8()),
        pa.array([1.0, 2.0], pa.float32()),
    ],
    ids=str,
)
def test_any_type_that_holds_numbers_will_do(values: pa.Array) -> None:
    checked = check_features(pa.table({"c": values}), {"c": NUMBER}, "t")
    assert checked.rows["c"].to_pylist() == [1.0, 2.0]
    assert checked.problems == []


def test_what_cannot_be_meant_is_refused_as_a_whole() -> None:
    with pytest.raises(InputError, match=r"t: no column c; its columns are d"):
        check_features(pa.table({"d": [1]}), {"c": NUMBER}, "t")
    nested = pa.table({"c": [[1]]})
    with pytest.raises(InputError, match=r"t: column c is list<.*, not a number"):
        check_features(nested, {"c": NUMBER}, "t")
    with pytest.raises(InputError, match=r"t: column c is list<.*, not a text"):
        check_features(nested, {"c": GRADE}, "t")
