"""The quick scenarios of `make chaos`."""

from __future__ import annotations

import pytest

from tools.chaos.parallel import run_all
from tools.chaos.run import Outcome
from tools.chaos.scenario import all_scenarios

pytestmark = [pytest.mark.broker, pytest.mark.timeout(1800)]
QUICK = [scenario for scenario in all_scenarios() if scenario.quick]


@pytest.fixture(scope="module")
def outcomes() -> dict[str, Outcome]:
    """Of all quick scenarios, one after another: other tests run beside them."""
    return {each.scenario.name: each for each in run_all(QUICK, seed=1, jobs=1)}


@pytest.mark.parametrize("name", [scenario.name for scenario in QUICK])
def test_what_is_promised_is_kept(name: str, outcomes: dict[str, Outcome]) -> None:
    outcome = outcomes[name]
    if outcome.skipped:
        pytest.skip(outcome.seen)
    assert outcome.error == ""
