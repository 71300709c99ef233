"""Commits that meet: one is made first, and the other is made again on top of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

from deltalake.exceptions import CommitFailedError
from deltalake.exceptions import DeltaError as DeltaRsError

from scorestream.infra.error_text import reason
from scorestream.infra.errors import DeltaError

ATTEMPTS: Final = 5
T = TypeVar("T")


def retried(what: str, attempt: Callable[[], T]) -> T:
    """What an attempt gives; one that another commit came before is made again.

    Raises:
        DeltaError: each of `ATTEMPTS` came too late.
    """
    for number in range(ATTEMPTS):
        try:
            return attempt()
        except DeltaRsError as error:
            if not _passes(error):
                raise
            if number == ATTEMPTS - 1:
                raise DeltaError(
                    f"{what}: met other commits {ATTEMPTS} times ({reason(error)}): run it again"
                ) from error
    raise AssertionError


def _passes(error: DeltaRsError) -> bool:
    """Whether another commit is the reason, or that the log was cleaned up meanwhile."""
    gone = (".checkpoint.parquet not found", "Invalid table version")
    return isinstance(error, CommitFailedError) or any(text in str(error) for text in gone)
