"""Which version of each model serves, decided on the driver between two batches.

What serves has been tried: a version that cannot be had, loaded or applied never comes to a batch.
One that fails there steps back behind the version that served before it. What was refused is tried
again, after twice as long each time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from scorestream.infra.config.settings import Settings
from scorestream.wallets.predictors.active_model import PATIENCE_SECONDS, PAUSE_SECONDS, ServedModel
from scorestream.wallets.predictors.batch_models import Choice, ModelUse
from scorestream.wallets.predictors.config import WalletModel
from scorestream.wallets.predictors.events import ServingWatch


class Serving:
    """The models of a stream or backfill."""

    def __init__(
        self,
        models: Sequence[WalletModel],
        settings: Settings,
        watch: ServingWatch,
        pause: float = PAUSE_SECONDS,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        """Nothing serves before :meth:`start`.

        Args:
            models: which; with none, MLflow is not imported.
            settings: where the registry and the warehouse are.
            watch: hears of every change and failure.
            pause: seconds before what failed is tried again.
            patience: seconds that a batch waits for the registry, and for the trial of a new
                version, which serves a later batch if it takes longer.
        """
        self._models: list[ServedModel] = []
        if models:
            # Importing MLflow takes seconds, which those without models need not spend.
            from scorestream.infra.mlflow.model_copies import ModelCopies  # noqa: PLC0415

            copies = ModelCopies(settings)
            self._models = [ServedModel(model, copies, watch, pause, patience) for model in models]

    def start(self) -> None:
        """Find a version of each model.

        Raises:
            ModelError: there is none that can be applied of a model that must not be missing.
        """
        for served in self._models:
            served.start()

    def refreshed(self) -> tuple[Choice, ...]:
        """The versions for the next batch; a registry that failed lately is not asked."""
        for served in self._models:
            served.refresh()
        return self.choices

    @property
    def choices(self) -> tuple[Choice, ...]:
        """The versions that serve; none of a model that is missing."""
        return tuple(served.choice for served in self._models if served.choice is not None)

    def learn(self, uses: Iterable[ModelUse]) -> None:
        """Take what a batch that is done tells of the versions that it was given."""
        told = list(uses)
        for served in self._models:
            served.learn([use for use in told if use.version.name == served.model.name])
