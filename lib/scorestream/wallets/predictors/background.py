"""Work that a batch does not wait for to its end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Generic, TypeVar

Answer = TypeVar("Answer")


class Background(Generic[Answer]):
    """Work in a thread that the end of the process does not wait for."""

    def __init__(self, work: Callable[[], Answer]) -> None:
        """It begins at once."""
        self._began = time.monotonic()
        self._ended: float | None = None
        self._future: Future[Answer] = Future()
        threading.Thread(target=self._run, args=(work,), daemon=True).start()

    def _run(self, work: Callable[[], Answer]) -> None:
        try:
            answer = work()
        except Exception as error:  # noqa: BLE001  told to whoever asks for the answer
            self._ended = time.monotonic()
            self._future.set_exception(error)
        else:
            self._ended = time.monotonic()
            self._future.set_result(answer)

    @property
    def age(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self._began

    @property
    def waited(self) -> float:
        """Seconds that its answer has been there; 0 before."""
        return 0.0 if self._ended is None else time.monotonic() - self._ended

    def is_done(self, seconds: float | None = 0.0) -> bool:
        """Whether it ends within some seconds; None: waits until it does."""
        wait([self._future], seconds)
        return self._future.done()

    def answer(self) -> Answer:
        """What came of it.

        Raises:
            Exception: what it raised.
        """
        return self._future.result()
