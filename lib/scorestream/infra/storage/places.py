"""Kinds of files beside the tables: what `forget --wallet` does with each.

Whoever writes files of a new kind declares them; a table says it itself (`infra/delta/table.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from fnmatch import fnmatchcase


class Treatment(Enum):
    """What becomes of a file that holds the wallet's address."""

    ROWS = "rows taken out"
    DELETED = "deleted"
    REDACTED = "address taken out"
    # Nobody but the user can say what it is worth, or it is what a model has learned.
    TOLD = "stays: yours to delete"
    # It holds numbers, hashes or pictures: not looked at.
    NOTHING = "cannot hold it"


@dataclass(frozen=True)
class Place:
    """Files of one kind.

    Attributes:
        pattern: of their paths; ``*`` is any letters, `/` among them.
        content: what they are.
        treatment: of those that hold the address.
        running: what stands for `.wallets/…` in the name of the lock of whoever uses it.
    """

    pattern: str
    content: str
    treatment: Treatment
    running: str | None = None


def place_of(path: str, places: Sequence[Place]) -> Place:
    """Which of the places a file belongs to.

    Raises:
        LookupError: to none: it has to be declared, with what `forget` does there.
    """
    for place in places:
        if fnmatchcase(path, place.pattern):
            return place
    raise LookupError(f"{path}: declare its kind, and what `forget` does there")
