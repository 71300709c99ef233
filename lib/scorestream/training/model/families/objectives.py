"""Objectives whose margins mean what a family's margins mean: no other has its numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from scorestream.errors import TrainingError

_TOLD: Final = "its margins are no values or log-odds: give one of"


def refuse_other(family: str, given: object, known: Sequence[str]) -> None:
    """Refuse an objective that is none of the known ones.

    Raises:
        TrainingError: it is none.
    """
    if given not in known:
        raise TrainingError(f"family {family}: objective {given!r}: {_TOLD} {', '.join(known)}")
