"""Events of models, for whoever exports them as metrics."""

from __future__ import annotations

from typing import Literal, Protocol

from scorestream.wallets.predictors.batch_models import ModelUse

FailureKind = Literal["unresolved", "unloadable", "failed"]


class ModelEvents(Protocol):
    """Receives what happens to models."""

    def version_activated(self, name: str, version: str | None) -> None:
        """A version is active from now on; None: the model has no active version."""

    def alarm_changed(self, name: str, *, is_on: bool) -> None:
        """The alarm is on while the active version fails, or is not the one in the registry."""

    def version_failed(self, name: str, kind: FailureKind) -> None:
        """A version could not be resolved, loaded or applied."""

    def version_used(self, use: ModelUse) -> None:
        """A version was called."""


class NoModelEvents:
    """Ignores all events, for callers who only want the log lines."""

    def version_activated(self, name: str, version: str | None) -> None:
        """Do nothing."""

    def alarm_changed(self, name: str, *, is_on: bool) -> None:
        """Do nothing."""

    def version_failed(self, name: str, kind: FailureKind) -> None:
        """Do nothing."""

    def version_used(self, use: ModelUse) -> None:
        """Do nothing."""
