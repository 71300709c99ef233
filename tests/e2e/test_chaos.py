"""The quick scenarios of `make chaos`; the harness itself."""

from __future__ import annotations

import os
import signal

import pytest
from chaos.parallel import run_all
from chaos.run import Outcome
from chaos.scenario import Scenario, all_scenarios
from chaos.site import Site

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


def kills_its_own_process(_site: Site) -> str:
    os.kill(os.getpid(), signal.SIGKILL)
    return "still there"


def test_scenarios_whose_process_is_lost_have_failed() -> None:
    lost = [Scenario(name, "", "", "", False, kills_its_own_process) for name in "ab"]
    outcomes = list(run_all(lost, seed=1, jobs=1))
    assert [each.scenario for each in outcomes] == lost
    assert [each.error for each in outcomes] == [
        "the process that ran it ended",
        "no process is left to run it",
    ]
