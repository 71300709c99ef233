"""The active version of each model, chosen on the driver between two batches.

A version becomes active after a trial: one that cannot be copied, loaded or applied never reaches a
batch. One that fails in batches is replaced by the version that was active before. A rejected
version is tried again, after a pause that doubles each time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from scorestream.infra.config.settings import Settings
from scorestream.wallets.predictors.active_model import (
    PATIENCE_SECONDS,
    PAUSE_SECONDS,
    ActiveModel,
    Waits,
)
from scorestream.wallets.predictors.batch_models import BatchModel, ModelUse
from scorestream.wallets.predictors.config import WalletModel
from scorestream.wallets.predictors.events import ModelEvents


class ActiveModels:
    """The models of a stream or backfill."""

    def __init__(
        self,
        models: Sequence[WalletModel],
        settings: Settings,
        events: ModelEvents,
        *,
        pause: float = PAUSE_SECONDS,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        """No version is active before :meth:`start`.

        Args:
            models: the configured models; without any, MLflow is not imported.
            settings: where the registry and the warehouse are.
            events: receives every change and failure.
            pause: seconds before what failed is tried again.
            patience: seconds that a batch waits for the registry, and for the trial of a new
                version; a longer trial makes the version active for a later batch.
        """
        self._models: list[ActiveModel] = []
        if models:
            # Importing MLflow takes seconds, which those without models need not spend.
            from scorestream.infra.mlflow.model_copies import ModelCopies  # noqa: PLC0415

            copies, waits = ModelCopies(settings), Waits(pause, patience)
            self._models = [ActiveModel(model, copies, events, waits) for model in models]

    def start(self) -> None:
        """Activate a version of each model.

        Raises:
            ModelError: a required model has no version that can be applied.
        """
        for model in self._models:
            model.start()

    def refresh(self) -> tuple[BatchModel, ...]:
        """The versions for the next batch; a registry that failed lately is not asked."""
        for model in self._models:
            model.refresh()
        return self.batch_models

    @property
    def batch_models(self) -> tuple[BatchModel, ...]:
        """The active versions; a model without one is left out."""
        models = (model.batch_model for model in self._models)
        return tuple(model for model in models if model is not None)

    def record_uses(self, uses: Iterable[ModelUse]) -> None:
        """Record how the calls of a finished batch went."""
        all_uses = list(uses)
        for model in self._models:
            model.record_uses([use for use in all_uses if use.version.name == model.config.name])
