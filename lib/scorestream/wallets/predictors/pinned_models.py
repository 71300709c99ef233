"""Pinned models: a backfill applies to its end the versions that were active when it began."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from scorestream.infra.config.settings import Settings
from scorestream.infra.errors import ModelError
from scorestream.infra.mlflow.model_version import Version
from scorestream.wallets.predictors.active_models import ActiveModels
from scorestream.wallets.predictors.apply import describe_error
from scorestream.wallets.predictors.batch_models import BatchModel
from scorestream.wallets.predictors.config import load_wallet_models
from scorestream.wallets.predictors.events import NoModelEvents
from scorestream.wallets.predictors.trial import try_version

if TYPE_CHECKING:
    from scorestream.infra.mlflow.model_copies import ModelCopies


@dataclass(frozen=True)
class PinnedModels:
    """The models of a backfill."""

    settings: Settings
    _tried: list[Version] = field(default_factory=list)

    def pin(self) -> list[Version]:
        """The versions active now, for a run that begins.

        Raises:
            ConfigurationError: the list of models is wrong.
            ModelError: a required model has no version that can be applied.
        """
        active_models = ActiveModels(
            load_wallet_models(self.settings), self.settings, NoModelEvents()
        )
        active_models.start()
        self._tried[:] = [model.version for model in active_models.batch_models]
        return list(self._tried)

    def prepare(self, versions: Sequence[Version]) -> tuple[BatchModel, ...]:
        """Make pinned versions ready for the batches of a run, old ones by a trial.

        Raises:
            ModelError: one of them cannot be applied any more.
        """
        if not versions:
            return ()
        # Importing MLflow takes seconds, which those without models need not spend.
        from scorestream.infra.mlflow.model_copies import ModelCopies  # noqa: PLC0415

        copies = ModelCopies(self.settings)
        relocated = [copies.relocate(version) for version in versions]
        for version in relocated:
            if version not in self._tried:
                _try(copies, version)
        return tuple(BatchModel(version) for version in relocated)


def _try(copies: ModelCopies, version: Version) -> None:
    try:
        try_version(copies, version)
    except Exception as error:  # noqa: BLE001  whatever a model or registry raises
        why = describe_error(error)
        raise ModelError(
            f"model {version}, which the run has begun with, cannot be applied: {why}"
        ) from None
