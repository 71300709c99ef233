"""The quick scenarios of `make chaos`; the harness itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from chaos.proxy import Proxy
from chaos.run import broker_and_proxy, run
from chaos.scenario import Scenario, all_scenarios

from scorestream.local.broker import LocalBroker

pytestmark = pytest.mark.broker
QUICK = [scenario for scenario in all_scenarios() if scenario.quick]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, LocalBroker, Proxy]]:
    folder = tmp_path_factory.mktemp("chaos")
    with broker_and_proxy(folder) as (broker, proxy):
        yield folder, broker, proxy


@pytest.mark.parametrize("scenario", QUICK, ids=[scenario.name for scenario in QUICK])
def test_what_is_promised_is_kept(
    scenario: Scenario, place: tuple[Path, LocalBroker, Proxy]
) -> None:
    outcome = run(scenario, *place, seed=1)
    if outcome.skipped:
        pytest.skip(outcome.seen)
    assert outcome.error == ""
