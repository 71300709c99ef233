"""Models of a run that keeps to its end the versions that it has begun with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from scorestream.infra.config.settings import Settings
from scorestream.infra.errors import ModelError
from scorestream.infra.mlflow.model_version import Version
from scorestream.wallets.predictors.active_models import Serving
from scorestream.wallets.predictors.apply import explained
from scorestream.wallets.predictors.batch_models import Choice
from scorestream.wallets.predictors.config import load_wallet_models
from scorestream.wallets.predictors.events import Unwatched
from scorestream.wallets.predictors.trial import try_version

if TYPE_CHECKING:
    from scorestream.infra.mlflow.model_copies import ModelCopies


@dataclass(frozen=True)
class KeptModels:
    """The models of a backfill."""

    settings: Settings
    _tried: list[Version] = field(default_factory=list)

    def now(self) -> list[Version]:
        """The versions that serve now, for a run that begins.

        Raises:
            ConfigurationError: the models are not listed as they should be.
            ModelError: there is no version of a model that must not be missing.
        """
        serving = Serving(load_wallet_models(self.settings), self.settings, Unwatched())
        serving.start()
        self._tried[:] = [choice.version for choice in serving.choices]
        return list(self._tried)

    def choices(self, versions: Sequence[Version]) -> tuple[Choice, ...]:
        """The versions that a run has begun with.

        Raises:
            ModelError: one of them cannot be applied any more.
        """
        if not versions:
            return ()
        # Importing MLflow takes seconds, which those without models need not spend.
        from scorestream.infra.mlflow.model_copies import ModelCopies  # noqa: PLC0415

        copies = ModelCopies(self.settings)
        here = [copies.here(version) for version in versions]
        for version in here:
            if version not in self._tried:
                _try(copies, version)
        return tuple(Choice(version) for version in here)


def _try(copies: ModelCopies, version: Version) -> None:
    try:
        try_version(copies, version)
    except Exception as error:  # noqa: BLE001  whatever a model or registry raises
        why = explained(error)
        raise ModelError(
            f"model {version}, which the run has begun with, cannot be applied: {why}"
        ) from None
