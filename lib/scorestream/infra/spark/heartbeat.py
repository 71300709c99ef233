"""Tasks that report progress, so that only those that make none are killed.

How long a task takes says nothing: a bucket of many wallets and moments may take hours, and so may
publishing at a given rate. So work calls :func:`report_progress` after each bounded unit. A task
that runs for long writes that, now and then, into a file below the warehouse, which is what all
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
class HeartbeatFiles:
    """Where the tasks of a session write their heartbeats.

    Attributes:
        folder: one file a task attempt, named by its id.
        interval: seconds; no task writes more often.
    """

    folder: str
    interval: float

    def read(self, task_ids: Iterable[int]) -> dict[int, str]:
        """The last heartbeat of each of the tasks that wrote one."""
        found = {task_id: read_text(self.path(task_id)) for task_id in task_ids}
        return {task_id: text for task_id, text in found.items() if text}

    def path(self, task_id: int) -> str:
        """The file of a task attempt."""
        return f"{self.folder}/{task_id}"

    def clear(self) -> None:
        """Remove all files."""
        remove_folder(self.folder)


class StallDetector:
    """Finds tasks that have made no progress for too long, by heartbeats and a monotonic clock."""

    def __init__(self, timeout: float) -> None:
        """No task is known yet.

        Args:
            timeout: seconds that a task may go without progress; twice that when it is retried.
        """
        self._timeout = timeout
        # By id of the task attempt, its last heartbeat, and when that was first seen.
        self._known: dict[int, tuple[str | None, float]] = {}

    def stalled(
        self, running: Mapping[int, int], heartbeats: Mapping[int, str], now: float
    ) -> dict[int, float]:
        """The stalled tasks, and the seconds since each last made progress.

        Args:
            running: ids of all task attempts that run, with how often each was tried before.
            heartbeats: the last of each that wrote one.
            now: seconds of a monotonic clock.
        """
        self._known = {task: self._seen(task, heartbeats.get(task), now) for task in running}
        ages = {task: now - since for task, (_, since) in self._known.items()}
        return {task: age for task, age in ages.items() if age > self._limit(running[task])}

    def _seen(self, task: int, heartbeat: str | None, now: float) -> tuple[str | None, float]:
        known = self._known.get(task)
        return known if known is not None and heartbeat in (None, known[0]) else (heartbeat, now)

    def _limit(self, tried: int) -> float:
        # A retry works in isolated processes, which takes longer.
        return self._timeout * (2 if tried else 1)


class _TaskHeartbeat:
    """The heartbeat of the task that this process runs."""

    def __init__(self, files: HeartbeatFiles, task_id: int) -> None:
        self._interval = files.interval
        self._uri = files.path(task_id)
        self._count = 0
        self._written = False
        self._next = time.monotonic() + files.interval

    def report_progress(self) -> None:
        self._count += 1
        now = time.monotonic()
        if now >= self._next:
            # A store that is away for a while is the work's affair.
            with suppress(OSError):
                self._written = True
                write_text(self._uri, str(self._count))
            self._next = now + self._interval

    def end(self) -> None:
        if self._written:
            with suppress(OSError):
                delete_files([self._uri])


# On the driver, while a watchdog runs.
_files: HeartbeatFiles | None = None
# In a worker, while it runs a task that is watched.
_task: _TaskHeartbeat | None = None


def report_progress() -> None:
    """Say that a unit of work is done; costs next to nothing, and outside of tasks does nothing."""
    if _task is not None:
        _task.report_progress()


def reporting_progress(units: Iterable[Unit]) -> Iterator[Unit]:
    """The units of work, with a call of :func:`report_progress` before each."""
    for unit in units:
        report_progress()
        yield unit


@contextmanager
def heartbeats_to(files: HeartbeatFiles) -> Iterator[None]:
    """On the driver: tasks that start within the block write heartbeats to these files."""
    global _files  # noqa: PLW0603  there is one session a process
    _files = files
    try:
        yield
    finally:
        _files = None


def current_heartbeats() -> HeartbeatFiles | None:
    """On the driver: where tasks that start now write heartbeats; None: nobody reads them."""
    return _files


@contextmanager
def task_heartbeat(files: HeartbeatFiles | None, task_id: int) -> Iterator[None]:
    """In a task: write its heartbeat while the block runs; None: do not."""
    global _task  # noqa: PLW0603  a worker runs one task at a time
    if files is None:
        yield
        return
    _task = task = _TaskHeartbeat(files, task_id)
    try:
        yield
    finally:
        _task = None
        task.end()
