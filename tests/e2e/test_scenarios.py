"""The harness of `make chaos`, and the shortest of its scenarios; more are in `tests/verify`."""

from __future__ import annotations

import os
import signal

import pytest

from tools.chaos.parallel import run_all
from tools.chaos.scenario import Scenario, all_scenarios
from tools.chaos.site import Site

pytestmark = pytest.mark.broker


def test_a_killed_stream_goes_on_without_its_checkpoint() -> None:
    chosen = [each for each in all_scenarios() if each.name == "checkpoint.lost"]
    [outcome] = run_all(chosen, seed=1, jobs=1)
    assert outcome.error == ""


def kills_its_own_process(_site: Site) -> str:
    os.kill(os.getpid(), signal.SIGKILL)
    return "still there"


def test_scenarios_whose_process_is_lost_have_failed() -> None:
    lost = [Scenario(name, "", "", "", quick=False, body=kills_its_own_process) for name in "ab"]
    outcomes = list(run_all(lost, seed=1, jobs=1))
    assert [each.scenario for each in outcomes] == lost
    assert [each.error for each in outcomes] == [
        "the process that ran it ended",
        "no process is left to run it",
    ]
