"""One scenario after the other, each with an installation of its own."""

from __future__ import annotations

import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tools.chaos.proxy import Proxy
from tools.chaos.scenario import Scenario, Skipped
from tools.chaos.site import Site
from tools.local.broker import LocalBroker
from tools.local.ports import HOST, controller_port, free_port
from tools.testkit.delivery_checks import Delivered


@dataclass(frozen=True)
class Outcome:
    """What came of a scenario.

    Attributes:
        seen: what it saw; empty if it failed, or why it was skipped.
        error: why it failed; empty if it passed.
        delivered: what the checker counted, if it was asked.
    """

    scenario: Scenario
    seen: str
    error: str
    seconds: float
    recovery_seconds: float | None
    delivered: Delivered | None
    skipped: bool = False

    @property
    def line(self) -> str:
        """In one line."""
        summary = f"FAILED: {self.error.strip().splitlines()[-1]}" if self.error else self.seen
        return f"{self.seconds:.0f} s: {summary}"


@dataclass(frozen=True)
class FileKind:
    """Where scenarios run: a broker with two listeners, one of them for a proxy's clients only.

    Attributes:
        behind: port of that listener.
        front: port that its clients are told.
    """

    folder: Path
    broker: LocalBroker
    behind: int
    front: int

    def proxy(self) -> Proxy:
        return Proxy(self.front, self.behind)


@contextmanager
def new_place() -> Iterator[FileKind]:
    """A place whose broker does not run yet; it is stopped and gone afterwards."""
    port, behind, front = free_port(), free_port(), free_port()
    overrides = two_listeners(port, behind, front)
    with tempfile.TemporaryDirectory(prefix="scorestream-chaos-") as name:
        folder = Path(name)
        broker = LocalBroker(port, folder / "kafka", overrides=overrides)
        try:
            yield FileKind(folder, broker, behind, front)
        finally:
            broker.stop()


@contextmanager
def ending_when_asked() -> Iterator[None]:
    """Who is asked to end (SIGTERM) stops what was started, too."""
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def two_listeners(port: int, behind: int, front: int) -> dict[str, str]:
    """Properties of a broker on `port`, and on `behind` for those who came by way of `front`."""
    return {
        "listeners": (
            f"PLAINTEXT://{HOST}:{port},PROXIED://{HOST}:{behind},"
            f"CONTROLLER://{HOST}:{controller_port(port)}"
        ),
        "advertised.listeners": f"PLAINTEXT://{HOST}:{port},PROXIED://{HOST}:{front}",
        "listener.security.protocol.map": (
            "PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT,CONTROLLER:PLAINTEXT"
        ),
        "inter.broker.listener.name": "PLAINTEXT",
    }


def run(scenario: Scenario, place: FileKind, proxy: Proxy, seed: int) -> Outcome:
    """Run one scenario; a failure of it becomes part of the outcome."""
    own = place.folder / scenario.name
    own.mkdir()
    started = time.monotonic()
    site, seen, error, skipped = None, "", "", False
    try:
        place.broker.start()
        site = Site(own, place.broker, proxy, random.Random(f"{seed}/{scenario.name}"))
        seen = scenario.body(site)
    except Skipped as why:
        seen, skipped = f"skipped: {why}", True
    except Exception:  # noqa: BLE001  whatever it is, the other scenarios go on
        error = traceback.format_exc()
    finally:
        if site is not None:
            site.close()
        shutil.rmtree(own, ignore_errors=True)
    seconds = time.monotonic() - started
    recovery = site.recovery_seconds if site else None
    delivered = site.delivered if site else None
    return Outcome(scenario, seen, error, seconds, recovery, delivered, skipped)
