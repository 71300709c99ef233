"""The active version of one model: how it is found, tried, replaced and rejected."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

import structlog

from scorestream.infra.errors import ModelError
from scorestream.infra.mlflow.model_version import Version
from scorestream.wallets.predictors.apply import describe_error
from scorestream.wallets.predictors.background import BackgroundTask
from scorestream.wallets.predictors.batch_models import BatchModel, ModelUse
from scorestream.wallets.predictors.config import WalletModel
from scorestream.wallets.predictors.events import FailureKind, ModelEvents
from scorestream.wallets.predictors.rejected_versions import RejectedVersions
from scorestream.wallets.predictors.trial import TRIAL_SECONDS, try_version

if TYPE_CHECKING:
    from scorestream.infra.mlflow.model_copies import ModelCopies

log = structlog.get_logger()

# How long a registry that did not answer, or a version that could not be loaded, is left alone.
PAUSE_SECONDS: Final = 30.0
FAILED_PAUSE_SECONDS: Final = 600.0
# How long a batch waits for the registry, and for a trial; a later result is for a later batch.
PATIENCE_SECONDS: Final = 3.0
START_SECONDS: Final = 60.0
# A registry's answer of that age is not used any more.
STALE_SECONDS: Final = 10.0
# A version is replaced that failed in so many batches in a row, each time for one wallet.
MAX_FAILED_BATCHES: Final = 3


@dataclass(frozen=True)
class Waits:
    """How long one waits for models, in seconds.

    Attributes:
        pause: before what failed is tried again.
        patience: what a batch waits for the registry, and for a trial.
    """

    pause: float = PAUSE_SECONDS
    patience: float = PATIENCE_SECONDS


class ActiveModel:
    """One configured model and its active version.

    Attributes:
        config: the model as it is configured.
        batch_model: the active version with its fallback; None: there is none.
    """

    def __init__(
        self, config: WalletModel, copies: ModelCopies, events: ModelEvents, waits: Waits
    ) -> None:
        self.config = config
        self.batch_model: BatchModel | None = None
        self._copies = copies
        self._events = events
        self._waits = waits
        self._resolving: BackgroundTask[Version] | None = None
        self._resolve_after = 0.0
        self._trial: tuple[Version, BackgroundTask[None]] | None = None
        self._rejected = RejectedVersions()
        # The active version and its fallback as recorded in the warehouse, for a start without a
        # registry.
        self._recorded: list[Version] = []
        self._failed_batches = 0
        # Whether it is active although it failed too often, as there is no other version.
        self._is_failing = False
        self._last_problem = ""

    def start(self) -> None:
        """Activate the version that the registry names, else the one recorded last.

        Raises:
            ModelError: neither can be applied, and the model is required.
        """
        self._recorded = self._copies.read_active_versions(self.config.model, self.config.name)
        named = self._resolve(START_SECONDS)
        if named is None or not self._activate(named, None):
            self._start_with_recorded(named)
        if self.batch_model is not None:
            return
        self._events.version_activated(self.config.name, None)
        if self.config.on_missing == "fail":
            raise ModelError(f"model {self.config.model} cannot be applied: {self._last_problem}")

    def _start_with_recorded(self, named: Version | None) -> None:
        """Activate one of the recorded versions, the last one first."""
        why = self._last_problem
        for version in self._recorded:
            if version == named:
                continue
            if self._activate(version, None):
                log.warning("model_from_last_copy", model=str(version), reason=why)
                self._set_alarm(is_on=True)
                return
            self._last_problem = (
                f"{why}; nor can {version}, which served before: {self._last_problem}"
            )
        if not self._recorded:
            self._last_problem = f"{why}; no earlier version is in the warehouse"

    def refresh(self) -> None:
        """Activate the version that the registry names now, if it can be applied."""
        named = self._resolve(self._waits.patience)
        if named is None:
            return
        is_active = self.batch_model is not None and named == self.batch_model.version
        if is_active and not self._is_failing:
            self._set_alarm(is_on=self._failed_batches > 0)
        elif self._is_on_trial(named) or self._rejected.may_try(named):
            # An active version that fails may lack files of its copy, which are copied again.
            self._activate(named, self._waits.patience)
        else:
            self._set_alarm(is_on=True)

    def _resolve(self, patience: float) -> Version | None:
        """The version that the registry names; None while it does not answer.

        Only the first batch waits for an answer: some take MLflow minutes.
        """
        if self._resolving is not None and not self._resolving.is_done():
            return None
        if self._resolving is None or self._resolving.seconds_since_end > STALE_SECONDS:
            if time.monotonic() < self._resolve_after:
                return None
            self._resolving = BackgroundTask(partial(self._copies.resolve, self.config.model))
            if not self._resolving.is_done(patience):
                error = ModelError(f"no answer for {patience:g} s")
                self._report_failure("unresolved", self.config.model, error)
                return None
        resolving, self._resolving = self._resolving, None
        try:
            return resolving.result()
        except Exception as error:  # noqa: BLE001  whatever the registry does, wallets are scored
            self._resolve_after = time.monotonic() + self._waits.pause
            self._report_failure("unresolved", self.config.model, error)
            return None

    def record_uses(self, uses: Sequence[ModelUse]) -> None:
        """Record a batch: remember a version that worked, replace one that failed."""
        for use in uses:
            self._events.version_used(use)
        if self.batch_model is None or not uses:
            return
        active = self.batch_model.version
        failed = [use for use in uses if use.version == active and use.problem]
        if not failed:
            self._failed_batches, self._is_failing = 0, False
            if self.batch_model.versions != self._recorded:
                self._record(self.batch_model)
            return
        self._report_failure("failed", str(active), ModelError(failed[0].problem))
        if all(use.problem for use in uses if use.version == active):
            self._failed_batches += 1
        if self._failed_batches >= MAX_FAILED_BATCHES or any(use.wallets > 1 for use in failed):
            self._fall_back(active)

    def _record(self, batch_model: BatchModel) -> None:
        """Record the versions for a start without a registry; a failure fails no batch."""
        try:
            self._copies.record_active_versions(self.config.model, batch_model.versions)
        except OSError as error:
            reason = describe_error(error)
            log.warning("model_not_noted", model=str(batch_model.version), reason=reason)
            return
        self._recorded = batch_model.versions

    def _is_on_trial(self, version: Version) -> bool:
        return self._trial is not None and self._trial[0] == version

    def _activate(self, version: Version, patience: float | None) -> bool:
        """Activate a version if its trial succeeds; returns whether it did.

        Args:
            version: the version to try.
            patience: seconds to wait for a trial that begins; None: until it ends.
        """
        if self._trial is None or self._trial[0] != version:
            fallbacks = self._earlier_versions(version)[:1]
            self._trial = version, BackgroundTask(partial(self._prepare, version, fallbacks))
            self._trial[1].is_done(patience)
        trial = self._trial[1]
        if not trial.is_done():
            if trial.seconds_since_start > TRIAL_SECONDS:
                self._set_alarm(is_on=True)
            return False
        self._trial = None
        try:
            trial.result()
        except Exception as error:  # noqa: BLE001  whatever a model does, wallets are scored
            self._rejected.reject(version, self._waits.pause)
            self._report_failure("unloadable", str(version), error)
            return False
        self._set_active(version, next(iter(self._earlier_versions(version)), None))
        self._is_failing = False
        self._set_alarm(is_on=False)
        return True

    def _prepare(self, version: Version, fallbacks: Sequence[Version]) -> None:
        """Try a version, and copy its fallback."""
        try_version(self._copies, version)
        for fallback in fallbacks:
            # The registry may have deleted it, while its copy is still good.
            with suppress(Exception):
                self._copies.fetch(fallback)

    def _earlier_versions(self, version: Version) -> list[Version]:
        """The versions active before another one, the last one first."""
        versions = self._recorded if self.batch_model is None else self.batch_model.versions
        return [each for each in versions if each != version]

    def _fall_back(self, failed: Version) -> None:
        """Replace a version that failed by its fallback, if it has one."""
        if self.batch_model is None or self.batch_model.fallback is None:
            if not self._is_failing:
                self._rejected.reject(failed, self._waits.pause)
            self._is_failing = True
            return
        self._rejected.reject(failed, FAILED_PAUSE_SECONDS)
        self._set_active(self.batch_model.fallback, None)

    def _set_active(self, version: Version, fallback: Version | None) -> None:
        self.batch_model = BatchModel(version, fallback)
        self._failed_batches = 0
        log.info("model_serves", model=str(version))
        self._events.version_activated(version.name, version.version)

    def _set_alarm(self, *, is_on: bool) -> None:
        self._events.alarm_changed(self.config.name, is_on=is_on)

    def _report_failure(self, kind: FailureKind, model: str, error: Exception) -> None:
        self._last_problem = describe_error(error)
        active = None if self.batch_model is None else str(self.batch_model.version)
        log.warning(
            "model_failed", kind=kind, model=model, reason=self._last_problem, serves=active
        )
        self._events.version_failed(self.config.name, kind)
        self._set_alarm(is_on=True)
