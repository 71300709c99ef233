"""What a batch is told of the models that it applies, and what it tells of them."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from scorestream.infra.mlflow.model_version import Version


@dataclass(frozen=True)
class Choice:
    """The version that a batch applies.

    Attributes:
        fallback: the one that served before, for wallets where this one fails.
    """

    version: Version
    fallback: Version | None = None

    @property
    def versions(self) -> list[Version]:
        """Those that are tried, in this order."""
        return [v for v in (self.version, self.fallback) if v is not None]


class ModelUse(msgspec.Struct, frozen=True):
    """One call of a version.

    Attributes:
        wallets: how many it was called with.
        lacking: how many of them have no value, by this version or one that stands in for it.
        seconds: how long it took, with loading it where that was the first call.
        problem: why it gave nothing that can be used; None where it did.
    """

    version: Version
    wallets: int
    lacking: int
    seconds: float
    problem: str | None
