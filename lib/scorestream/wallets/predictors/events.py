"""Who is told what becomes of models."""

from __future__ import annotations

from typing import Literal, Protocol

from scorestream.wallets.predictors.batch_models import ModelUse

FailureKind = Literal["unresolved", "unloadable", "failed"]


class ServingWatch(Protocol):
    """Who wants to know of models."""

    def model_serves(self, name: str, version: str | None) -> None:
        """A version serves from now on; None: no version does."""

    def model_alarm(self, name: str, alarm: bool) -> None:
        """Whether what serves is another version than the registry names, or failed."""

    def model_failed(self, name: str, kind: FailureKind) -> None:
        """A version could not be had, loaded or applied."""

    def model_used(self, use: ModelUse) -> None:
        """A version was called."""


class Unwatched:
    """For those who only want the log lines."""

    def model_serves(self, name: str, version: str | None) -> None:
        """Nothing."""

    def model_alarm(self, name: str, alarm: bool) -> None:
        """Nothing."""

    def model_failed(self, name: str, kind: FailureKind) -> None:
        """Nothing."""

    def model_used(self, use: ModelUse) -> None:
        """Nothing."""
