"""A version of a registered model; does not import MLflow, for workers without models."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Version:
    """A version of a registered model.

    Attributes:
        uri: of the folder in the warehouse that holds a copy of its files.
    """

    name: str
    version: str
    uri: str

    def __str__(self) -> str:
        """As a reference."""
        return f"{self.name}/{self.version}"
