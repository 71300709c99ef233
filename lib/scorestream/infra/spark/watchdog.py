"""Tasks that make no progress are killed, so that Spark tries them again."""

from __future__ import annotations

import threading
import time
from collections import Counter
from contextlib import ExitStack, suppress
from typing import Final, Self

import structlog
from pyspark.sql import SparkSession

from scorestream.infra.spark import compat
from scorestream.infra.spark.compat import RunningTask
from scorestream.infra.spark.heartbeat import HeartbeatFiles, StallDetector, heartbeats_to

log = structlog.get_logger()

# A task that was killed does not count for Spark as one that failed.
MAX_KILLS: Final = 4
CHECKS_PER_TIMEOUT: Final = 10
HEARTBEATS_PER_TIMEOUT: Final = 30
# A store that does not answer holds up no end of a job.
CLEAR_SECONDS: Final = 10.0


class Watchdog:
    """Kills the stalled tasks of a session, from threads of its own.

    However long a task takes, it is left alone while it reports progress (`heartbeat`).

    Spark's own means (`spark.python.worker.killOnIdleTimeout`) is a TERM, which a worker that is
    stopped, or that waits for a dead disk, never gets. Killing the task ends the worker, or leaves
    it behind.

    Attributes:
        gave_up: why a stage was cancelled; None if none was.
    """

    def __init__(self, spark: SparkSession, timeout: float, folder: str) -> None:
        """No thread runs yet.

        Args:
            spark: the session.
            timeout: seconds that a task may go without progress; twice that when it is retried.
            folder: for heartbeats, which all machines share, and no other session has.
        """
        self._spark = spark
        self._timeout = timeout
        self._files = HeartbeatFiles(folder, timeout / HEARTBEATS_PER_TIMEOUT)
        # Read in a thread of its own: where the store hangs, tasks are killed all the same.
        self._task_ids: list[int] = []
        self._heartbeats: dict[int, str] = {}
        self._stalls = StallDetector(timeout)
        self._killed: set[int] = set()
        # By stage and number of the task.
        self._kills: Counter[tuple[int, int]] = Counter()
        self.gave_up: str | None = None
        self._ended = threading.Event()
        self._checker = threading.Thread(target=self._run, name="watchdog", daemon=True)
        self._reader = threading.Thread(target=self._read, name="watchdog heartbeats", daemon=True)
        self._open = ExitStack()

    def __enter__(self) -> Self:
        with suppress(OSError):
            # Heartbeats of a session that was killed.
            self._files.clear()
        self._open.enter_context(heartbeats_to(self._files))
        self._checker.start()
        self._reader.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._open.close()
        self._ended.set()
        self._checker.join()
        self._reader.join(CLEAR_SECONDS)

    def _read(self) -> None:
        while not self._ended.wait(self._timeout / CHECKS_PER_TIMEOUT):
            try:
                self._heartbeats = self._files.read(self._task_ids)
            except OSError as error:
                log.debug("watchdog", reason=str(error))
        with suppress(OSError):
            self._files.clear()

    def _run(self) -> None:
        while not self._ended.wait(self._timeout / CHECKS_PER_TIMEOUT):
            try:
                self._check()
            except (compat.GatewayError, OSError) as error:
                # The stage ended meanwhile, or all of Spark did.
                log.debug("watchdog", reason=str(error))

    def _check(self) -> None:
        running = {task.task_id: task for task in compat.running_tasks(self._spark)}
        self._task_ids = list(running)
        tried = {number: task.attempt for number, task in running.items()}
        stalled = self._stalls.stalled(tried, self._heartbeats, time.monotonic())
        for number, age in stalled.items():
            self._kill(running[number], age)

    def _kill(self, task: RunningTask, age: float) -> None:
        if task.task_id in self._killed:
            return
        self._killed.add(task.task_id)
        self._kills[task.stage_id, task.partition] += 1
        kills = self._kills[task.stage_id, task.partition]
        reason = f"a task did not get on for {self._timeout:g} s"
        log.warning("task_killed", reason=reason, attempt=task.attempt + 1, seconds=round(age, 1))
        if kills < MAX_KILLS:
            compat.kill_task(self._spark, task.task_id, reason)
        else:
            self.gave_up = f"{reason}, {kills} times"
            compat.cancel_stage(self._spark, task.stage_id, self.gave_up)
