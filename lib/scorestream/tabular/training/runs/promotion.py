"""`promote_model`: which version serves from now on, whatever a comparison said."""

from __future__ import annotations

from scorestream.infra.config.settings import Settings
from scorestream.infra.mlflow.registry import Registry
from scorestream.infra.mlflow.store import ModelStore


def promote_model(name: str, version: int, settings: Settings) -> None:
    """Let a version serve from now on, whatever the comparison said.

    Raises:
        ModelError: there is no such version.
    """
    registry = Registry(ModelStore.of(settings))
    model = registry.resolve(f"{name}/{version}")
    registry.promote(model)
    print(f"{model} is the champion")


def rollback_model(name: str, settings: Settings) -> None:
    """Let the version serve that served before the present one.

    Raises:
        ModelError: there is none.
    """
    before, now = Registry(ModelStore.of(settings)).rollback(name)
    print(f"{now} is the champion again, {before} was")
