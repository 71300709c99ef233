"""The model versions that a batch applies, and the outcome of each call of a model."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from scorestream.infra.mlflow.model_version import Version


@dataclass(frozen=True)
class BatchModel:
    """The version of one model that a batch applies.

    Attributes:
        fallback: the version that was active before, for wallets where this one fails.
    """

    version: Version
    fallback: Version | None = None

    @property
    def versions(self) -> list[Version]:
        """The version, then its fallback if there is one."""
        return [v for v in (self.version, self.fallback) if v is not None]


class ModelUse(msgspec.Struct, frozen=True):
    """One call of a version.

    Attributes:
        wallets: how many it was called with.
        lacking: how many of them have no value, neither by this version nor by its fallback.
        seconds: how long it took, loading included where that was the first call.
        problem: why it gave no usable values; None if it did.
    """

    version: Version
    wallets: int
    lacking: int
    seconds: float
    problem: str | None
