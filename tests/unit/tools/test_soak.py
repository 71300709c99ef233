"""What the soak takes for growth."""

from __future__ import annotations

from random import Random

import pytest

from scorestream.infra.errors import InputError
from tools.chaos.soak import BLOCKS, parse_arguments, trend

MINUTES = [second / 60 for second in range(0, 3600, 5)]


def noisy(slope: float) -> list[float]:
    """Values around 100 that change by so much an hour."""
    chance = Random(1)
    return [100 + slope * minute / 60 + chance.gauss(0, 5) for minute in MINUTES]


@pytest.mark.parametrize(
    ("slope", "limit", "grows"),
    [(0, 5, False), (-30, 5, False), (2, 5, False), (30, 5, True), (10, 5, True), (0, 0.1, None)],
)
def test_only_what_surely_grows_is_said_to_grow(
    slope: float, limit: float, *, grows: bool | None
) -> None:
    found = trend(MINUTES, noisy(slope), 5.0)
    assert found.grows(limit) == grows
    assert found.slope == pytest.approx(slope, abs=found.error + 1)
    assert 0 < found.error < 10


def test_ups_and_downs_within_blocks_are_no_growth() -> None:
    saw = [minute % 5 for minute in MINUTES]
    assert trend(MINUTES, saw, 5.0).grows(0.1) is False


def test_three_blocks_tell_growth_and_two_nothing() -> None:
    assert trend(MINUTES, MINUTES, 20.0).grows(10)
    with pytest.raises(InputError, match="2 blocks of 30 minutes tell no trend"):
        trend(MINUTES, MINUTES, 30.0)


@pytest.mark.parametrize("minutes", ["60", "10", "1"])
def test_every_length_has_blocks_enough(minutes: str) -> None:
    arguments = parse_arguments(["--minutes", minutes])
    assert arguments.minutes / arguments.compact_minutes == pytest.approx(BLOCKS)


def test_too_few_blocks_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_arguments(["--minutes", "10", "--compact-minutes", "5"])
    assert "--minutes must be 3 times --compact-minutes at least" in capsys.readouterr().err
