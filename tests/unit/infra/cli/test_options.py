"""Arguments that several jobs take."""

from __future__ import annotations

from argparse import ArgumentTypeError

import pytest

from scorestream.infra.cli.options import at_least, between, parse_duration, parse_time


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("-5", -5),
        ("1623715200", 1_623_715_200),
        ("2021-06-15", 1_623_715_200),
        ("2021-06-15T00:00:00Z", 1_623_715_200),
        ("2021-06-15T02:00:00.9+02:00", 1_623_715_200),
    ],
)
def test_a_moment_is_iso_8601_in_utc_or_unix_seconds(text: str, seconds: int) -> None:
    assert parse_time(text) == seconds


@pytest.mark.parametrize("text", ["", "yesterday", "1.5", "2021-13-01"])
def test_anything_else_is_no_moment(text: str) -> None:
    with pytest.raises(ArgumentTypeError, match="is no time"):
        parse_time(text)


def test_an_integer_has_to_be_large_enough() -> None:
    assert at_least(3)("3") == 3
    with pytest.raises(ArgumentTypeError, match="must be at least 3"):
        at_least(3)("2")


def test_an_integer_has_to_be_small_enough() -> None:
    assert between(1, 5)("5") == 5
    with pytest.raises(ArgumentTypeError, match="must be at most 5"):
        between(1, 5)("6")
    with pytest.raises(ArgumentTypeError, match="must be at least 1"):
        between(1, 5)("0")


@pytest.mark.parametrize("text", ["1700000000000", "-99999999999999"])
def test_milliseconds_are_no_seconds(text: str) -> None:
    with pytest.raises(ArgumentTypeError, match="are these milliseconds"):
        parse_time(text)


@pytest.mark.parametrize("text", ["300000w", "7", "0d", "-1d", "1y"])
def test_what_is_no_span_is_refused(text: str) -> None:
    with pytest.raises(ArgumentTypeError, match=r"no span|thousand years"):
        parse_duration(text)
