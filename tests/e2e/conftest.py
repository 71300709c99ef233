"""A real broker for the end-to-end tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from installation import Installation
from scorestream.local.broker import LocalBroker, free_port


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalBroker]:
    """A broker of the tests' own, on a free port."""
    port = free_port()
    broker = LocalBroker(port, tmp_path_factory.mktemp("kafka"))
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture
def installation(broker: LocalBroker, tmp_path: Path) -> Installation:
    return Installation(tmp_path, broker.bootstrap_servers)
