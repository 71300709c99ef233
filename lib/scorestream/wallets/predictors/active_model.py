"""One model: which version of it serves, and which one is refused for now."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final

import structlog

from scorestream.infra.errors import ModelError
from scorestream.infra.mlflow.model_version import Version
from scorestream.wallets.predictors.apply import explained
from scorestream.wallets.predictors.background import Background
from scorestream.wallets.predictors.batch_models import Choice, ModelUse
from scorestream.wallets.predictors.config import WalletModel
from scorestream.wallets.predictors.events import FailureKind, ServingWatch
from scorestream.wallets.predictors.rejected_versions import RefusedVersions
from scorestream.wallets.predictors.trial import TRIAL_SECONDS, try_version

if TYPE_CHECKING:
    from scorestream.infra.mlflow.model_copies import ModelCopies

log = structlog.get_logger()

# So long is a registry left alone that did not answer, or a version that could not be loaded.
PAUSE_SECONDS: Final = 30.0
FAILED_PAUSE_SECONDS: Final = 600.0
# So long a batch waits for the registry, and for a trial; what comes later counts for a later one.
PATIENCE_SECONDS: Final = 3.0
START_SECONDS: Final = 60.0
# An answer that nobody took for so long says nothing of now.
STALE_SECONDS: Final = 10.0
# A version steps back that failed in so many batches in a row, each time for one wallet.
MAX_FAILED_BATCHES: Final = 3


class ServedModel:
    """One model.

    Attributes:
        choice: the version that serves, and the one that served before it; None: none does.
    """

    def __init__(
        self,
        model: WalletModel,
        copies: ModelCopies,
        watch: ServingWatch,
        pause: float,
        patience: float,
    ) -> None:
        self.model = model
        self.choice: Choice | None = None
        self._copies = copies
        self._watch = watch
        self._pause = pause
        self._patience = patience
        self._asked: Background[Version] | None = None
        self._ask_at = 0.0
        self._trial: tuple[Version, Background[None]] | None = None
        self._refused = RefusedVersions()
        # What a start without a registry would begin with: the version noted last, and the one
        # that served before it.
        self._noted: list[Version] = []
        # Batches in a row that it failed in, and whether it serves although they were too many.
        self._failures = 0
        self._failing = False
        self._why = ""

    def start(self) -> None:
        """Begin with what the registry names, or else with what served last.

        Raises:
            ModelError: neither can be applied, and the model must not be missing.
        """
        self._noted = self._copies.noted(self.model.model, self.model.name)
        named = self._named(START_SECONDS)
        if named is None or not self._try(named, None):
            self._start_with_noted(named)
        if self.choice is not None:
            return
        self._watch.model_serves(self.model.name, None)
        if self.model.on_missing == "fail":
            raise ModelError(f"model {self.model.model} cannot be applied: {self._why}")

    def _start_with_noted(self, named: Version | None) -> None:
        """Begin with what served last."""
        why = self._why
        for served in self._noted:
            if served == named:
                continue
            if self._try(served, None):
                log.warning("model_from_last_copy", model=str(served), reason=why)
                self._watch.model_alarm(self.model.name, True)
                return
            self._why = f"{why}; nor can {served}, which served before: {self._why}"
        if not self._noted:
            self._why = f"{why}; no earlier version is in the warehouse"

    def refresh(self) -> None:
        """Let the version serve that the registry names now, if it can."""
        named = self._named(self._patience)
        if named is None:
            return
        serves = self.choice is not None and named == self.choice.version
        if serves and not self._failing:
            self._watch.model_alarm(self.model.name, self._failures > 0)
        elif self._is_tried(named) or self._refused.may_try(named):
            # What serves and fails may lack files of its copy, which are copied again.
            self._try(named, self._patience)
        else:
            self._watch.model_alarm(self.model.name, True)

    def _named(self, patience: float) -> Version | None:
        """The version that the registry names; None while it does not answer.

        Only the first batch waits for an answer, as to some questions it takes minutes.
        """
        if self._asked is not None and not self._asked.is_done():
            return None
        if self._asked is None or self._asked.waited > STALE_SECONDS:
            if time.monotonic() < self._ask_at:
                return None
            self._asked = Background(partial(self._copies.resolve, self.model.model))
            if not self._asked.is_done(patience):
                self._fail("unresolved", self.model.model, ModelError(_no_answer(patience)))
                return None
        asked, self._asked = self._asked, None
        try:
            return asked.answer()
        except Exception as error:  # noqa: BLE001  whatever the registry does, wallets are scored
            self._ask_at = time.monotonic() + self._pause
            self._fail("unresolved", self.model.model, error)
            return None

    def learn(self, uses: Sequence[ModelUse]) -> None:
        """Take what a batch tells: note what served well, step back from what failed."""
        for use in uses:
            self._watch.model_used(use)
        if self.choice is None or not uses:
            return
        serving = self.choice.version
        failed = [use for use in uses if use.version == serving and use.problem]
        if not failed:
            self._failures, self._failing = 0, False
            if self.choice.versions != self._noted:
                self._note(self.choice)
            return
        self._fail("failed", str(serving), ModelError(failed[0].problem))
        if all(use.problem for use in uses if use.version == serving):
            self._failures += 1
        if self._failures >= MAX_FAILED_BATCHES or any(use.wallets > 1 for use in failed):
            self._step_back(serving)

    def _note(self, choice: Choice) -> None:
        """Note what a start without a registry would begin with; a batch does not fail by it."""
        try:
            self._copies.note(self.model.model, choice.versions)
        except OSError as error:
            log.warning("model_not_noted", model=str(choice.version), reason=explained(error))
            return
        self._noted = choice.versions

    def _is_tried(self, version: Version) -> bool:
        return self._trial is not None and self._trial[0] == version

    def _try(self, version: Version, patience: float | None) -> bool:
        """Let a version serve if it can be copied, loaded and applied.

        Args:
            version: which.
            patience: seconds that are waited for a trial that begins; None: until it ends.
        """
        if self._trial is None or self._trial[0] != version:
            before = self._before(version)
            self._trial = version, Background(partial(self._prepare, version, before))
            self._trial[1].is_done(patience)
        trial = self._trial[1]
        if not trial.is_done():
            if trial.age > TRIAL_SECONDS:
                self._watch.model_alarm(self.model.name, True)
            return False
        self._trial = None
        try:
            trial.answer()
        except Exception as error:  # noqa: BLE001  whatever a model does, wallets are scored
            self._refused.refuse(version, self._pause)
            self._fail("unloadable", str(version), error)
            return False
        self._serve(version)
        return True

    def _prepare(self, version: Version, before: Sequence[Version]) -> None:
        """Try a version, and have the one before it at hand."""
        try_version(self._copies, version)
        for each in before[:1]:
            # The registry may be rid of it, and the copy as good as ever.
            with suppress(Exception):
                self._copies.fetch(each)

    def _before(self, version: Version) -> list[Version]:
        """What served before a version, the last one first."""
        served = self._noted if self.choice is None else self.choice.versions
        return [each for each in served if each != version]

    def _serve(self, version: Version) -> None:
        self.choice = Choice(version, next(iter(self._before(version)), None))
        self._failures, self._failing = 0, False
        self._tell_serves(version)
        self._watch.model_alarm(version.name, False)

    def _step_back(self, failed: Version) -> None:
        """Serve with the version before, if there is one."""
        if self.choice is None or self.choice.fallback is None:
            if not self._failing:
                self._refused.refuse(failed, self._pause)
            self._failing = True
            return
        self._refused.refuse(failed, FAILED_PAUSE_SECONDS)
        self.choice = Choice(self.choice.fallback)
        self._failures = 0
        self._tell_serves(self.choice.version)

    def _tell_serves(self, version: Version) -> None:
        log.info("model_serves", model=str(version))
        self._watch.model_serves(version.name, version.version)

    def _fail(self, kind: FailureKind, what: str, error: Exception) -> None:
        self._why = explained(error)
        serves = None if self.choice is None else str(self.choice.version)
        log.warning("model_failed", kind=kind, model=what, reason=self._why, serves=serves)
        self._watch.model_failed(self.model.name, kind)
        self._watch.model_alarm(self.model.name, True)


def _no_answer(seconds: float) -> str:
    return f"no answer for {seconds:g} s"
