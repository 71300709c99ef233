"""Which version of each model serves, decided on the driver between two batches.

What serves has been tried: a version that cannot be had, loaded or applied never comes to a batch.
One that fails there steps back behind the version that served before it, until the registry names
another.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final, Literal, Protocol

import pyarrow as pa
import structlog

from scorestream.careful import Helper
from scorestream.core import schemas
from scorestream.errors import ModelError
from scorestream.serving.applying import MODEL_COLUMNS, explained, model_values, ready
from scorestream.serving.choices import Choice, ModelUse, Version
from scorestream.serving.config import WalletModel
from scorestream.settings import Settings

if TYPE_CHECKING:
    from scorestream.io.mlflow.copies import ModelCopies

log = structlog.get_logger()

# So long is a registry left alone that did not answer, or a version that could not be loaded.
PAUSE_SECONDS: Final = 30.0
FailureKind = Literal["unresolved", "unloadable", "failed"]
# Wallets that a model is tried with: nothing done, a little, a lot.
TRIAL_SECONDS: Final = 120.0
_TRIED_WITH: Final = (0, 1, 1000)


class ServingWatch(Protocol):
    """Who wants to know of models."""

    def model_serves(self, name: str, version: str | None) -> None:
        """A version serves from now on; None: no version does."""

    def model_alarm(self, name: str, alarm: bool) -> None:
        """Whether what serves is another version than the registry names, or failed."""

    def model_failed(self, name: str, kind: FailureKind) -> None:
        """A version could not be had, loaded or applied."""

    def model_used(self, use: ModelUse) -> None:
        """A version was called."""


class Serving:
    """The models of a stream or backfill."""

    def __init__(
        self,
        models: Sequence[WalletModel],
        settings: Settings,
        watch: ServingWatch,
        pause: float = PAUSE_SECONDS,
    ) -> None:
        """Nothing serves before :meth:`start`.

        Args:
            models: which; with none, MLflow is not imported.
            settings: where the registry and the warehouse are.
            watch: hears of every change and failure.
            pause: seconds before what failed is tried again.
        """
        self._models: list[_Served] = []
        if models:
            # Importing MLflow takes seconds, which those without models need not spend.
            from scorestream.io.mlflow.copies import ModelCopies  # noqa: PLC0415

            copies = ModelCopies(settings)
            self._models = [_Served(model, copies, watch, pause) for model in models]

    def start(self) -> None:
        """Find a version of each model.

        Raises:
            ModelError: there is none that can be applied of a model that must not be missing.
        """
        for served in self._models:
            served.start()

    def refreshed(self) -> tuple[Choice, ...]:
        """The versions for the next batch; a registry that did not answer lately is not asked."""
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


def try_version(copies: ModelCopies, version: Version) -> None:
    """Copy a version into the warehouse, load it, and apply it to a few wallets.

    In a process of its own, as a model may end it, or take for ever.

    Raises:
        Exception: it cannot be had, loaded or applied.
    """
    copies.fetch(version)
    with Helper(TRIAL_SECONDS, ready) as helper:
        helper.run(partial(model_values, version, trial_rows()))


class _Served:
    """One model.

    Attributes:
        choice: the version that serves, and the one that served before it; None: none does.
    """

    def __init__(
        self, model: WalletModel, copies: ModelCopies, watch: ServingWatch, pause: float
    ) -> None:
        self.model = model
        self.choice: Choice | None = None
        self._copies = copies
        self._watch = watch
        self._pause = pause
        self._ask_at = 0.0
        self._refused: dict[Version, float] = {}
        self._noted: Version | None = None
        self._failing = False
        self._why = ""

    def start(self) -> None:
        """Begin with what the registry names, or else with what served last.

        Raises:
            ModelError: neither can be applied, and the model must not be missing.
        """
        self._noted = self._copies.last_good(self.model.model, self.model.name)
        self.refresh()
        why = self._why
        if self.choice is None and self._noted is not None and self._try(self._noted):
            log.warning("model_from_last_copy", model=str(self._noted), reason=why)
            self._watch.model_alarm(self.model.name, True)
        if self.choice is not None:
            return
        self._watch.model_serves(self.model.name, None)
        if self.model.on_missing == "fail":
            raise ModelError(
                f"model {self.model.model} cannot be applied, and no earlier version is in the "
                f"warehouse: {self._why}"
            )

    def refresh(self) -> None:
        """Let the version serve that the registry names now, if it can."""
        now = time.monotonic()
        if now < self._ask_at:
            return
        try:
            named = self._copies.resolve(self.model.model)
        except Exception as error:  # noqa: BLE001  whatever the registry does, wallets are scored
            self._ask_at = now + self._pause
            self._fail("unresolved", self.model.model, error)
            return
        if self.choice is not None and named == self.choice.version:
            self._watch.model_alarm(self.model.name, self._failing)
        elif now >= self._refused.get(named, 0.0):
            self._try(named)

    def learn(self, uses: Sequence[ModelUse]) -> None:
        """Take what a batch tells: note what served well, step back from what failed."""
        for use in uses:
            self._watch.model_used(use)
        if self.choice is None or not uses:
            return
        serving = self.choice.version
        failed = [use.problem for use in uses if use.version == serving and use.problem]
        self._failing = bool(failed)
        if failed:
            self._step_back(serving, failed)
        elif serving != self._noted:
            self._note(serving)

    def _note(self, version: Version) -> None:
        """Note what a start without a registry would begin with; a batch does not fail by it."""
        try:
            self._copies.note(self.model.model, version)
        except OSError as error:
            log.warning("model_not_noted", model=str(version), reason=explained(error))
            return
        self._noted = version

    def _try(self, version: Version) -> bool:
        """Let a version serve if it can be copied, loaded and applied."""
        try:
            try_version(self._copies, version)
        except Exception as error:  # noqa: BLE001  whatever a model does, wallets are scored
            self._refused[version] = time.monotonic() + self._pause
            self._fail("unloadable", str(version), error)
            return False
        before = self._noted if self.choice is None else self.choice.version
        self.choice = Choice(version, None if before == version else before)
        log.info("model_serves", model=str(version))
        self._watch.model_serves(version.name, version.version)
        self._watch.model_alarm(version.name, False)
        return True

    def _step_back(self, failed: Version, problems: Sequence[str]) -> None:
        """Serve with the version before, if there is one, until the registry names another."""
        self._fail("failed", str(failed), ModelError(problems[0]))
        if self.choice is None or self.choice.fallback is None:
            return
        self._refused[failed] = float("inf")
        self.choice = Choice(self.choice.fallback)
        self._watch.model_serves(failed.name, self.choice.version.version)

    def _fail(self, kind: FailureKind, what: str, error: Exception) -> None:
        self._why = explained(error)
        serves = None if self.choice is None else str(self.choice.version)
        log.warning("model_failed", kind=kind, model=what, reason=self._why, serves=serves)
        self._watch.model_failed(self.model.name, kind)
        self._watch.model_alarm(self.model.name, True)


def trial_rows() -> pa.Table:
    """A few wallets that every model has to take."""
    whole = {f.name for f in schemas.FEATURES if pa.types.is_integer(f.type)} | {
        "transaction_count"
    }
    kinds = {name: pa.int64() if name in whole else pa.float64() for name in MODEL_COLUMNS}
    return pa.table({name: pa.array(_TRIED_WITH, kind) for name, kind in kinds.items()})


class Unwatched:
    """For those who only want the log lines."""

    def model_serves(self, name: str, version: str | None) -> None:
        """Nothing."""

    def model_alarm(self, name: str, alarm: bool) -> None:
        """Nothing."""

    def model_failed(self, name: str, kind: FailureKind) -> None:
        """Nothing."""

    def model_used(self, use: ModelUse) -> None:
        """Nothing."""
