"""Tasks that say that they get on, so that only those that do not are killed.

How long a task takes says nothing: a bucket of many wallets and moments may take hours, and so may
publishing at a given rate. So work says :func:`get_on` after each unit that is bounded. A task that
runs for long passes that on, now and then, through a file below the warehouse, which is what all
machines share; the watchdog on the driver looks whether the file changes. A task of seconds, as
nearly all are, writes none.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TypeVar

from scorestream.infra.storage.filesystem import (
    delete_files,
    read_text,
    remove_folder,
    write_text,
)

Unit = TypeVar("Unit")


@dataclass(frozen=True)
class Signs:
    """Where the tasks of a session leave their signs of life.

    Attributes:
        folder: a file a task, whose name is the number of its attempt in the session.
        seconds: no task writes more often.
    """

    folder: str
    seconds: float

    def read(self, tasks: Iterable[int]) -> dict[int, str]:
        """The last sign of each of the tasks that gave one."""
        found = {number: read_text(self.place(number)) for number in tasks}
        return {number: text for number, text in found.items() if text}

    def place(self, task: int) -> str:
        """The file of a task."""
        return f"{self.folder}/{task}"

    def clear(self) -> None:
        """Remove all."""
        remove_folder(self.folder)


class Patience:
    """Which tasks have not got on for too long, by their signs and a steady clock."""

    def __init__(self, seconds: float) -> None:
        """No task is known yet.

        Args:
            seconds: the most that a task may go without getting on.
        """
        self._seconds = seconds
        # By attempt of a task, its last sign, and when that was first seen.
        self._known: dict[int, tuple[str | None, float]] = {}

    def overdue(
        self, running: Mapping[int, int], signs: Mapping[int, str], now: float
    ) -> dict[int, float]:
        """For how long the tasks have not got on that took too long for it.

        Args:
            running: all that run, with how often each was tried before.
            signs: the last sign of each that gave one.
            now: seconds of a clock that only goes forward.
        """
        self._known = {task: self._seen(task, signs.get(task), now) for task in running}
        ages = {task: now - since for task, (_, since) in self._known.items()}
        return {task: age for task, age in ages.items() if age > self._most(running[task])}

    def _seen(self, task: int, sign: str | None, now: float) -> tuple[str | None, float]:
        known = self._known.get(task)
        return known if known is not None and sign in (None, known[0]) else (sign, now)

    def _most(self, tried: int) -> float:
        # What is done again is done with care, which takes longer.
        return self._seconds * (2 if tried else 1)


class _Task:
    """The task that this process does."""

    def __init__(self, signs: Signs, number: int) -> None:
        self._seconds = signs.seconds
        self._uri = signs.place(number)
        self._count = 0
        self._signed = False
        self._next = time.monotonic() + signs.seconds

    def get_on(self) -> None:
        self._count += 1
        now = time.monotonic()
        if now >= self._next:
            # A store that is away for a while is the work's affair.
            with suppress(OSError):
                self._signed = True
                write_text(self._uri, str(self._count))
            self._next = now + self._seconds

    def end(self) -> None:
        if self._signed:
            with suppress(OSError):
                delete_files([self._uri])


# On the driver, while tasks are watched.
_watched: Signs | None = None
# In a worker, while it does a task that is watched.
_task: _Task | None = None


def get_on() -> None:
    """Say that a unit of work is done; costs next to nothing, and nothing outside of tasks."""
    if _task is not None:
        _task.get_on()


def getting_on(units: Iterable[Unit]) -> Iterator[Unit]:
    """The units of work, saying :func:`get_on` before each."""
    for unit in units:
        get_on()
        yield unit


@contextmanager
def watched(signs: Signs) -> Iterator[None]:
    """On the driver: tasks that begin within the block are told where to leave signs."""
    global _watched  # noqa: PLW0603  there is one session a process
    _watched = signs
    try:
        yield
    finally:
        _watched = None


def signs_of_now() -> Signs | None:
    """On the driver: where tasks that begin now leave signs; None: nobody watches them."""
    return _watched


@contextmanager
def signing(signs: Signs | None, task_number: int) -> Iterator[None]:
    """In a task: what it says within the block goes there."""
    global _task  # noqa: PLW0603  a worker does one task at a time
    if signs is None:
        yield
        return
    _task = task = _Task(signs, task_number)
    try:
        yield
    finally:
        _task = None
        task.end()
