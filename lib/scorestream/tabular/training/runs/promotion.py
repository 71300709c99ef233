"""`promote_model`: makes a version the champion, whatever the promotion decision was."""

from __future__ import annotations

from scorestream.infra.config.settings import Settings
from scorestream.infra.mlflow.registry import Registry
from scorestream.infra.mlflow.store import ModelStore


def promote_model(name: str, version: int, settings: Settings) -> None:
    """Make a version the champion.

    Raises:
        ModelError: there is no such version.
    """
    registry = Registry(ModelStore.of(settings))
    model = registry.resolve(f"{name}/{version}")
    registry.promote(model)
    print(f"{model} is the champion")


def rollback_model(name: str, settings: Settings) -> None:
    """Make the previous champion the champion again.

    Raises:
        ModelError: there is none.
    """
    before, now = Registry(ModelStore.of(settings)).rollback(name)
    print(f"{now} is the champion again, {before} was")
