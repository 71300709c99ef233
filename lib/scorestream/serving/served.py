"""One model: which version of it serves, and which one is refused for now."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING, Final

import structlog

from scorestream.errors import ModelError
from scorestream.serving.applying import explained
from scorestream.serving.choices import Choice, ModelUse, Version
from scorestream.serving.config import WalletModel
from scorestream.serving.trial import try_version
from scorestream.serving.watching import FailureKind, ServingWatch

if TYPE_CHECKING:
    from scorestream.io.mlflow.copies import ModelCopies

log = structlog.get_logger()

# So long is a registry left alone that did not answer, or a version that could not be loaded.
PAUSE_SECONDS: Final = 30.0
FAILED_PAUSE_SECONDS: Final = 600.0
LONGEST_PAUSE_SECONDS: Final = 3600.0
# So long a batch waits for the registry's answer, which then counts for a later one; and a start.
ANSWER_SECONDS: Final = 3.0
START_SECONDS: Final = 60.0
# A version steps back that failed so often in a row, each time for one wallet.
MOST_FAILURES: Final = 3


class Served:
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
        self._asked: Future[Version] | None = None
        self._ask_at = 0.0
        self._refusals = Refusals()
        self._noted: Version | None = None
        # Calls in a row that gave nothing, and whether it serves although they were too many.
        self._failures = 0
        self._failing = False
        self._why = ""

    def start(self) -> None:
        """Begin with what the registry names, or else with what served last.

        Raises:
            ModelError: neither can be applied, and the model must not be missing.
        """
        self._noted = self._copies.last_good(self.model.model, self.model.name)
        self.refresh(START_SECONDS)
        why = self._why
        noted = self._noted
        if self.choice is None and noted and self._refusals.may_try(noted) and self._try(noted):
            log.warning("model_from_last_copy", model=str(noted), reason=why)
            self._watch.model_alarm(self.model.name, True)
        if self.choice is not None:
            return
        self._watch.model_serves(self.model.name, None)
        if self.model.on_missing == "fail":
            last = "no earlier version is in the warehouse"
            if self._noted is not None:
                last = f"nor can {self._noted}, which served last: {self._why}"
            raise ModelError(f"model {self.model.model} cannot be applied: {why}; {last}")

    def refresh(self, patience: float = ANSWER_SECONDS) -> None:
        """Let the version serve that the registry names now, if it can."""
        named = self._named(patience)
        if named is None:
            return
        serves = self.choice is not None and named == self.choice.version
        if serves and not self._failing:
            self._watch.model_alarm(self.model.name, self._failures > 0)
        elif self._refusals.may_try(named):
            # What serves and fails may lack files of its copy, which are copied again.
            self._try(named)

    def _named(self, patience: float) -> Version | None:
        """The version that the registry names; None while it does not answer.

        It is asked in a thread, as to some questions it takes minutes not to answer.
        """
        if self._asked is None:
            if time.monotonic() < self._ask_at:
                return None
            self._asked = in_background(partial(self._copies.resolve, self.model.model))
        elif not self._asked.done():
            return None
        try:
            named = self._asked.result(patience)
        except TimeoutError:
            self._fail("unresolved", self.model.model, ModelError(f"no answer for {patience:g} s"))
            return None
        except Exception as error:  # noqa: BLE001  whatever the registry does, wallets are scored
            self._ask_at = time.monotonic() + self._pause
            self._fail("unresolved", self.model.model, error)
            named = None
        self._asked = None
        return named

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
            if serving != self._noted:
                self._note(serving)
            return
        self._failures += len(failed)
        self._fail("failed", str(serving), ModelError(failed[0].problem))
        if self._failures >= MOST_FAILURES or any(use.wallets > 1 for use in failed):
            self._step_back(serving)

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
            self._refusals.refuse(version, self._pause)
            self._fail("unloadable", str(version), error)
            return False
        before = self._noted if self.choice is None else self.choice.version
        if self.choice is not None and self.choice.version == version:
            before = self.choice.fallback
        self.choice = Choice(version, None if before == version else before)
        self._failures, self._failing = 0, False
        log.info("model_serves", model=str(version))
        self._watch.model_serves(version.name, version.version)
        self._watch.model_alarm(version.name, False)
        return True

    def _step_back(self, failed: Version) -> None:
        """Serve with the version before, if there is one."""
        if self.choice is None or self.choice.fallback is None:
            self._failing = True
            self._refusals.refuse(failed, self._pause)
            return
        self._refusals.refuse(failed, FAILED_PAUSE_SECONDS)
        self.choice = Choice(self.choice.fallback)
        self._failures = 0
        self._watch.model_serves(failed.name, self.choice.version.version)

    def _fail(self, kind: FailureKind, what: str, error: Exception) -> None:
        self._why = explained(error)
        serves = None if self.choice is None else str(self.choice.version)
        log.warning("model_failed", kind=kind, model=what, reason=self._why, serves=serves)
        self._watch.model_failed(self.model.name, kind)
        self._watch.model_alarm(self.model.name, True)


class Refusals:
    """Versions that are not tried for a while, longer each time."""

    def __init__(self) -> None:
        self._known: dict[Version, tuple[float, float]] = {}

    def refuse(self, version: Version, pause: float) -> None:
        """Leave a version alone: at first for a pause, then for twice the last one."""
        last = self._known.get(version, (0.0, 0.0))[1]
        pause = min(max(pause, 2 * last), LONGEST_PAUSE_SECONDS)
        self._known[version] = (time.monotonic() + pause, pause)

    def may_try(self, version: Version) -> bool:
        """Whether the pause of a version is over, or it has none."""
        return time.monotonic() >= self._known.get(version, (0.0, 0.0))[0]


def in_background(work: Callable[[], Version]) -> Future[Version]:
    """Do work in a thread that the end of the process does not wait for."""
    future: Future[Version] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except Exception as error:  # noqa: BLE001  told to whoever asks for the result
            future.set_exception(error)

    threading.Thread(target=run, name="registry", daemon=True).start()
    return future
