"""The data version and the split: they depend on every value, and on nothing else."""

from __future__ import annotations

from collections import Counter
from datetime import date, time, timedelta

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scorestream.infra.errors import InputError, TrainingError
from scorestream.tabular.model.config import Column
from scorestream.tabular.training.config.load import load_use_case
from scorestream.tabular.training.config.sections import Split
from scorestream.tabular.training.config.use_case import UseCase
from scorestream.tabular.training.data.datasets import Source, prepare_dataset
from scorestream.tabular.training.data.hashing import content_hash, row_hashes, shares
from scorestream.tabular.training.data.splitting import select_held_out
from scorestream.tabular.training.data.timestamps import parse_times
from scorestream.tabular.training.data.totals import count_rows_of, sum_counts
from scorestream.tabular.training.data.validation import check_training
from tools.testkit.models import LOANS

NUMBERS = st.floats(allow_nan=False)
ROWS = st.lists(st.tuples(NUMBERS | st.none(), st.text(max_size=5) | st.none()), min_size=1)


def table(rows: list[tuple[float | None, str | None]]) -> pa.Table:
    schema = pa.schema([("a", pa.float64()), ("b", pa.string())])
    return pa.Table.from_pylist([{"a": a, "b": b} for a, b in rows], schema=schema)


@given(ROWS, st.randoms())
def test_order_of_rows_and_columns_is_no_content(
    rows: list[tuple[float | None, str | None]], random: np.random.Generator
) -> None:
    before = content_hash(table(rows))
    random.shuffle(rows)
    assert content_hash(table(rows).select(["b", "a"])) == before


@given(ROWS, st.data())
def test_every_value_is(rows: list[tuple[float | None, str | None]], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(rows) - 1))
    a, b = rows[place]
    before = content_hash(table(rows))
    for other in ((1.0 if a != 1.0 else 2.0, b), (a, (b or "") + "x")):
        assert content_hash(table([*rows[:place], other, *rows[place + 1 :]])) != before


def test_the_type_of_a_number_is_no_content_but_which_column_has_it_is() -> None:
    whole = pa.table({"a": [1, 2], "b": [3, 4]})
    assert content_hash(whole) == content_hash(pa.table({"a": [1.0, 2.0], "b": [3.0, 4.0]}))
    assert content_hash(whole) != content_hash(pa.table({"a": [3, 4], "b": [1, 2]}))
    assert len(set(row_hashes(pa.table({"a": [0.0, -0.0, None, np.nan]})).tolist())) == 2
    assert content_hash(pa.table({"a": ["", None]})) != content_hash(pa.table({"a": ["", ""]}))


@pytest.mark.parametrize("kind", [pa.int64(), pa.uint64()], ids=str)
def test_whole_numbers_that_no_double_holds_are_told_apart(kind: pa.DataType) -> None:
    large = [(1 << 53) + add for add in range(4)] + [(1 << 63) - 1]
    rows = pa.table({"a": pa.array([*large, None, 7], kind)})
    hashes = row_hashes(rows)
    assert len(set(hashes.tolist())) == rows.num_rows
    doubles = row_hashes(pa.table({"a": [float(1 << 53), None, 7.0]}))
    assert hashes[[0, 5, 6]].tolist() == doubles.tolist()
    below = row_hashes(pa.table({"a": [-(1 << 53), -(1 << 53) - 1]}))
    assert below[0] == row_hashes(pa.table({"a": [-float(1 << 53)]}))[0] != below[1]


def test_shares_are_even_and_another_for_each_seed() -> None:
    hashes = row_hashes(pa.table({"a": np.arange(100_000.0)}))
    first, second = shares(hashes, 1), shares(hashes, 2)
    for found in (first, second):
        assert np.histogram(found, 10, (0, 1))[0].std() < 200
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.02


@pytest.fixture
def use_case() -> UseCase:
    columns = {"income": Column(kind="number")}
    return load_use_case(LOANS).model_copy(update={"columns": columns})


def loan_table(count: int) -> pa.Table:
    labels = ["Approved" if i % 3 else "Rejected" for i in range(count)]
    return pa.table({"loan_id": range(count), "income": range(count), "loan_status": labels})


def test_a_stratified_split_takes_the_same_share_of_each_label(use_case: UseCase) -> None:
    rows = loan_table(3000)
    held = select_held_out(rows, use_case)
    for label, count in (("Approved", 2000), ("Rejected", 1000)):
        of_label = np.array(rows["loan_status"].to_pylist()) == label
        assert (held & of_label).sum() == pytest.approx(0.2 * count, abs=1)


@pytest.mark.parametrize("by", ["random", "stratified"])
def test_rows_stay_where_they_were_when_others_come(use_case: UseCase, by: str) -> None:
    split = use_case.split.model_copy(update={"by": by})
    case = use_case.model_copy(update={"split": split})
    before, after = select_held_out(loan_table(2000), case), select_held_out(loan_table(2200), case)
    moved = (before != after[:2000]).mean()
    assert moved == 0 if by == "random" else moved < 0.02


def test_ids_decide_nothing(use_case: UseCase) -> None:
    rows = loan_table(500)
    other = rows.set_column(0, "loan_id", pa.array(range(500, 1000)))
    assert (select_held_out(rows, use_case) == select_held_out(other, use_case)).all()


def test_what_is_carried_beside_the_features_decides_nothing(use_case: UseCase) -> None:
    search = use_case.search.model_copy(update={"group": "branch"})
    case = use_case.model_copy(update={"search": search})
    rows = loan_table(500)
    held = [
        select_held_out(rows.append_column("branch", pa.array(branches)), case)
        for branches in (range(500), [f"{place}.0" for place in range(500)])
    ]
    assert (held[0] == held[1]).all()


def test_by_time_the_latest_rows_are_held_out(use_case: UseCase) -> None:
    case = use_case.model_copy(update={"split": Split(by="time", column="when", held_out=0.25)})
    days = [f"2024-01-{day:02}" for day in range(1, 32)] * 4
    rows = pa.table({"when": days, "loan_status": ["a", "b"] * 62})
    held = select_held_out(rows, case)
    times = parse_times(rows["when"])
    assert times[held].min() > times[~held].max()
    assert 0.15 < held.mean() <= 0.25


@pytest.mark.parametrize("unit", ["s", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC"])
def test_moments_are_unix_seconds(unit: str, zone: str | None) -> None:
    times = pa.array([1_700_000_000, 86_400], pa.timestamp("s", zone)).cast(
        pa.timestamp(unit, zone)
    )
    assert parse_times(pa.chunked_array([times])).tolist() == [1_700_000_000, 86_400]


@pytest.mark.parametrize(
    "when",
    [
        pa.array([1, None, 3], pa.timestamp("us")),
        pa.array([date(2024, 1, 1), None, date(9999, 12, 31)]),
        pa.array([1, None, 3]),
        pa.array(["2024-01-01", " ", "2024-01-02"]),
    ],
    ids=str,
)
def test_a_row_of_no_known_time_cannot_be_split_by_it(use_case: UseCase, when: pa.Array) -> None:
    case = use_case.model_copy(update={"split": Split(by="time", column="when")})
    checked = check_training(loan_table(3).append_column("when", when), case, "t")
    [problem] = checked.problems
    assert (problem.row, problem.column, problem.text) == (2, "when", "is missing")


@pytest.mark.parametrize("wrong", ["31/12/2025", "soon", "inf"])
def test_a_time_that_cannot_be_read_is_that_of_a_bad_row(use_case: UseCase, wrong: str) -> None:
    case = use_case.model_copy(update={"split": Split(by="time", column="when")})
    when = ["1704067200", "2024-01-02T00:00Z", " 2024-01-03 ", wrong]
    checked = check_training(loan_table(4).append_column("when", pa.array(when)), case, "t")
    [problem] = checked.problems
    assert (problem.row, problem.column) == (4, "when")
    assert problem.text == f"{wrong!r} is no time (ISO 8601, unix seconds)"
    known = parse_times(pa.chunked_array([when[:3]]))
    assert (known / 86_400 - 19_723).tolist() == [0, 1, 2]


@pytest.mark.parametrize("value", [time(12), timedelta(1), True, b"2024-01-01"], ids=str)
def test_values_of_other_types_are_no_times(value: object) -> None:
    assert np.isnan(parse_times(pa.chunked_array([[value, None]]))).all()


def test_a_time_that_is_a_feature_is_told_once(use_case: UseCase) -> None:
    split = Split(by="time", column="income")
    columns = {"income": Column(kind="number", absent=(0,))}
    case = use_case.model_copy(update={"split": split, "columns": columns})
    rows = loan_table(3).set_column(1, "income", pa.array(["0", "x", "5"]))
    found = check_training(rows, case, "t").problems
    assert [(p.row, p.text) for p in found] == [(2, "'x' is no number"), (1, "is missing")]


def test_a_nested_column_is_carried_by_nobody(use_case: UseCase) -> None:
    rows = loan_table(3).set_column(0, "loan_id", pa.array([[1], [2], [3]]))
    with pytest.raises(InputError, match=r"t: column loan_id is list<.*, not a plain value"):
        check_training(rows, use_case, "t")


def test_by_time_no_moment_is_on_both_sides(use_case: UseCase) -> None:
    case = use_case.model_copy(update={"split": Split(by="time", column="when", held_out=0.2)})
    for counts, expected in (((40, 30, 30), 30), ((60, 25, 10, 5), 15), ((10, 90), 90)):
        when = [str(place) for place, count in enumerate(counts) for _ in range(count)]
        rows = pa.table({"when": when, "loan_status": ["a"] * len(when)})
        assert np.flatnonzero(select_held_out(rows, case)).tolist() == list(
            range(100 - expected, 100)
        )
    with pytest.raises(TrainingError, match="0 would be held out"):
        select_held_out(pa.table({"when": ["1"] * 50, "loan_status": ["a"] * 50}), case)


def test_totals_are_those_of_the_parts(use_case: UseCase) -> None:
    rows = loan_table(300).set_column(1, "income", pa.array(["x", *map(str, range(299))]))
    parts = [count_rows_of(rows.slice(start, 100), use_case) for start in (200, 0, 100)]
    totals = sum_counts(sum(parts, Counter()))
    assert totals == sum_counts(count_rows_of(rows, use_case))
    assert (totals.rows, totals.bad) == (299, {"income: is no number": 1})
    assert totals.held_out == pytest.approx(60, abs=25)
    for column, values in (("income", ["y", *map(str, range(299))]), ("loan_id", range(1, 301))):
        place = rows.column_names.index(column)
        other = count_rows_of(rows.set_column(place, column, pa.array(values)), use_case)
        assert sum_counts(other).data_version != totals.data_version


def test_a_row_with_two_problems_is_one_bad_row(use_case: UseCase) -> None:
    case = use_case.model_copy(update={"derived": {}})
    rows = pa.concat_tables([loan_table(300), loan_table(3)]).to_pandas()
    rows = rows.astype({"income": str})
    rows.loc[5, ["income", "loan_status"]] = ["x", "perhaps"]
    rows.loc[6, "income"] = "y"
    table = pa.Table.from_pandas(rows)
    totals = prepare_dataset(case, Source("t", table, left_out=2)).totals
    kinds = {"income: is no number": 2, "(all): is another row again": 3}
    assert totals.bad == {**kinds, "loan_status: is none of Rejected, Approved": 1}
    assert totals.bad_rows == 2 + 3 + 2
    assert sum_counts(count_rows_of(table, case)).bad_rows == 2


def test_too_few_rows_cannot_be_split(use_case: UseCase) -> None:
    with pytest.raises(TrainingError, match="need 10 each"):
        select_held_out(loan_table(20), use_case)
