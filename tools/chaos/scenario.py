"""What a scenario is, and the list of all."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tools.chaos.site import Site


class Skipped(Exception):
    """A scenario needs what this machine does not have; the text says what."""


Body = Callable[["Site"], str]


@dataclass(frozen=True)
class Scenario:
    """A fault, and what must come of it.

    Attributes:
        name: how it is chosen on the command line, `group.name`.
        fault: what goes wrong.
        injected: how.
        expected: what must come of it.
        quick: whether `make verify` runs it, too.
        body: brings the fault about, and says what was seen; raises if that is not as expected.
    """

    name: str
    fault: str
    injected: str
    expected: str
    quick: bool
    body: Body


_FOUND: dict[str, Scenario] = {}


def scenario(
    fault: str, *, injected: str, expected: str, quick: bool = False
) -> Callable[[Body], Body]:
    """Register a function as a scenario."""

    def register(body: Body) -> Body:
        name = f"{body.__module__.rpartition('.')[2]}.{body.__name__}"
        _FOUND[name] = Scenario(name, fault, injected, expected, quick, body)
        return body

    return register


def all_scenarios() -> list[Scenario]:
    """Every scenario of `chaos/scenarios`, in the order of files and lines."""
    package = importlib.import_module("tools.chaos.scenarios")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"tools.chaos.scenarios.{module.name}")
    return list(_FOUND.values())
