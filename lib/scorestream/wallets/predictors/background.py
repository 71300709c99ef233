"""Background tasks: a batch waits for them a limited time, or not at all."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Generic, TypeVar

Result = TypeVar("Result")


class BackgroundTask(Generic[Result]):
    """A function in a daemon thread: the process may end before it does."""

    def __init__(self, work: Callable[[], Result]) -> None:
        """Start it at once."""
        self._started_at = time.monotonic()
        self._ended_at: float | None = None
        self._future: Future[Result] = Future()
        threading.Thread(target=self._run, args=(work,), daemon=True).start()

    def _run(self, work: Callable[[], Result]) -> None:
        try:
            result = work()
        except Exception as error:  # noqa: BLE001  raised by `result`
            self._ended_at = time.monotonic()
            self._future.set_exception(error)
        else:
            self._ended_at = time.monotonic()
            self._future.set_result(result)

    @property
    def seconds_since_start(self) -> float:
        """Seconds since it was started."""
        return time.monotonic() - self._started_at

    @property
    def seconds_since_end(self) -> float:
        """Seconds since it ended; 0 while it runs."""
        return 0.0 if self._ended_at is None else time.monotonic() - self._ended_at

    def is_done(self, seconds: float | None = 0.0) -> bool:
        """Whether it ends within some seconds; None: wait until it does."""
        wait([self._future], seconds)
        return self._future.done()

    def result(self) -> Result:
        """What the function returned.

        Raises:
            Exception: what the function raised.
        """
        return self._future.result()
