"""Retries of commits that lost a race: another commit came first, so they are made again on it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

from deltalake.exceptions import CommitFailedError
from deltalake.exceptions import DeltaError as DeltaRsError

from scorestream.infra.error_text import error_summary
from scorestream.infra.errors import DeltaError

ATTEMPTS: Final = 5
T = TypeVar("T")


def retry_commit(action: str, attempt: Callable[[], T]) -> T:
    """Call `attempt` again as long as it conflicts with another commit; returns its result.

    Args:
        action: what is done, for the error.
        attempt: makes the commit, on the table as it is then.

    Raises:
        DeltaError: each of `ATTEMPTS` attempts had a conflict.
    """
    for number in range(ATTEMPTS):
        try:
            return attempt()
        except DeltaRsError as error:
            if not _is_conflict(error):
                raise
            if number == ATTEMPTS - 1:
                reason = error_summary(error)
                raise DeltaError(
                    f"{action}: met other commits {ATTEMPTS} times ({reason}): run it again"
                ) from error
    raise AssertionError


def _is_conflict(error: DeltaRsError) -> bool:
    """Whether another commit came first, or the log was cleaned up meanwhile."""
    gone = (".checkpoint.parquet not found", "Invalid table version")
    return isinstance(error, CommitFailedError) or any(text in str(error) for text in gone)
