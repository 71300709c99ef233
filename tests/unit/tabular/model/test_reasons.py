"""Reasons, similar samples, drift: exact, and told as configured."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scorestream.infra.errors import InputError
from scorestream.tabular.drift.measures import chance_index, measure_column_drift, stability_index
from scorestream.tabular.model.config import Reasons, Similarity
from scorestream.tabular.model.explain import _convert_to_unit, amount_text, reason_text
from scorestream.tabular.model.similar import SimilarSamples
from scorestream.tabular.training.config.sections import Drift
from scorestream.tabular.training.runs.profile import compute_shares, profile_column

DIAMONDS = Similarity(same=("cut", "color"), nearest="carat")
LOGS = st.floats(-3, 3, allow_subnormal=False)


@given(st.floats(0, 10), st.lists(LOGS, min_size=1, max_size=6))
def test_amounts_of_a_logarithm_sum_to_the_difference(start: float, logs: list[float]) -> None:
    parts = {str(place): np.array([value]) for place, value in enumerate(logs)}
    begin, amounts = _convert_to_unit(np.array([start]), parts)
    total = float((begin + sum(amounts.values()))[0])
    assert total == pytest.approx(np.exp(start + sum(logs)), rel=1e-6)
    for name, amount in amounts.items():
        assert np.sign(amount[0]) == np.sign(parts[name][0])


def test_an_amount_has_sign_and_unit() -> None:
    dollars = Reasons(prefix="$", decimals=0)
    assert amount_text(dollars, 1240.4) == "+$1 240"
    assert amount_text(dollars, -3.6) == "-$4"
    assert amount_text(Reasons(suffix=" %", decimals=1), 0.25) == "+0.2 %"
    reasons = Reasons(prefix="$", decimals=0, texts={"carat": "{amount} for {value} carat"})
    assert reason_text(reasons, "carat", 1240, 1.1, average=0.8) == "+$1 240 for 1.1 carat"
    told = "-$5: cut missing against an average of Ideal"
    assert reason_text(reasons, "cut", -5, None, average="Ideal") == told


def diamonds(count: int) -> pa.Table:
    random = np.random.default_rng(3)
    return pa.table(
        {
            "cut": random.choice(["Fair", "Good", "Ideal"], count).tolist(),
            "color": random.choice(list("DEFG"), count).tolist(),
            "carat": random.integers(20, 300, count) / 100,
            "number": range(count),
        }
    )


def test_similar_samples_are_those_of_a_full_search() -> None:
    table = diamonds(3000)
    similar = SimilarSamples(table, DIAMONDS)
    rows = table.to_pylist()
    for carat in (0.0, 0.2, 1.005, 1.01, 2.99, 9.0):
        wanted = {"cut": "Good", "color": "E", "carat": carat}
        found = similar.like(wanted, 7).to_pylist()
        of_kind = [r for r in rows if (r["cut"], r["color"]) == ("Good", "E")]
        nearest = sorted(abs(r["carat"] - carat) for r in of_kind)[:7]
        assert [abs(r["carat"] - carat) for r in found] == nearest
        assert {(r["cut"], r["color"]) for r in found} == {("Good", "E")}
        assert len({r["number"] for r in found}) == 7


def test_few_or_no_samples_are_as_many_as_there_are() -> None:
    table = pa.table({"cut": ["a", "a", None], "color": ["x"] * 3, "carat": [1.0, 2.0, 1.0]})
    similar = SimilarSamples(table, DIAMONDS)
    assert similar.like({"cut": "a", "color": "x", "carat": 3}, 9).num_rows == 2
    assert similar.like({"cut": "b", "color": "x", "carat": 3}, 9).num_rows == 0
    assert SimilarSamples(table.slice(0, 0), DIAMONDS).like(
        {"cut": "a", "color": "x", "carat": 3}, 9
    ).num_rows == 0  # fmt: skip
    with pytest.raises(InputError, match="needs a value of each column"):
        similar.like({"cut": "a", "carat": 3}, 9)
    with pytest.raises(InputError, match="no column carat"):
        SimilarSamples(pa.table({"cut": ["a"], "color": ["b"]}), DIAMONDS)


def test_a_million_samples_are_searched() -> None:
    table = diamonds(1_000_000)
    found = SimilarSamples(table, DIAMONDS).like({"cut": "Fair", "color": "G", "carat": 1.5}, 5)
    assert found["carat"].to_pylist() == [1.5] * 5


LIMITS = Drift(psi=0.2, missing=0.05)


def test_numbers_of_the_same_distribution_do_not_drift_and_moved_ones_do() -> None:
    random = np.random.default_rng(8)
    before = profile_column(pa.array(random.normal(size=4000)))
    assert sum(before.shares) == pytest.approx(1)
    same = measure_column_drift("x", before, pa.chunked_array([random.normal(size=1000)]), LIMITS)
    assert same.psi < same.chance
    assert not same.drifted
    moved = measure_column_drift("x", before, pa.chunked_array([random.normal(1, 1, 1000)]), LIMITS)
    assert moved.drifted
    assert moved.psi > 0.5


def test_a_handful_of_rows_may_differ_by_chance() -> None:
    before = profile_column(pa.array(np.arange(1000.0)))
    few = measure_column_drift("x", before, pa.chunked_array([[1.0, 2.0, 999.0]]), LIMITS)
    assert few.psi > LIMITS.psi
    assert not few.drifted


def test_new_categories_and_missing_values_drift() -> None:
    before = profile_column(pa.array(["a", "b"] * 500))
    assert before.bins == ("a", "b", "(new)")
    new = measure_column_drift("x", before, pa.chunked_array([["a", "c"] * 500]), LIMITS)
    assert new.drifted
    gone = measure_column_drift(
        "x", before, pa.chunked_array([["a", "b"] * 450 + [None] * 100]), LIMITS
    )
    assert gone.psi == pytest.approx(0)
    assert gone.drifted


def test_few_values_have_a_bin_each() -> None:
    profile = profile_column(pa.array([0.0, 1.0, 1.0, 2.0] * 50))
    assert profile.shares == pytest.approx((0.25, 0.5, 0.25))
    assert compute_shares(profile, pa.chunked_array([[-5.0, 7.0]])) == pytest.approx((0.5, 0, 0.5))
    constant = profile_column(pa.array([3.0] * 10))
    assert constant.shares == (1.0,)
    assert chance_index(1, 10, 10) == 0


def test_the_index_is_that_of_the_formula() -> None:
    expected = (0.4 - 0.5) * np.log(0.4 / 0.5) + (0.6 - 0.5) * np.log(0.6 / 0.5)
    assert stability_index((0.5, 0.5), (0.4, 0.6)) == pytest.approx(expected)
