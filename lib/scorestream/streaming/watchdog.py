"""Tasks that take too long are killed, so that Spark does them again."""

from __future__ import annotations

import threading
import time
from typing import Any, Final, Self

import structlog
from py4j.protocol import Py4JError
from pyspark.sql import SparkSession

log = structlog.get_logger()

# As often as Spark does a task that fails; see SPARK_MASTER.
ATTEMPTS: Final = 4
LOOKS_A_LIMIT: Final = 10
_MOST_TASKS: Final = 100_000


class Watchdog:
    """Looks after the tasks of a session, in a thread of its own.

    Spark's own means (`spark.python.worker.killOnIdleTimeout`) is a TERM, which a worker that is
    stopped, or that waits for a dead disk, never gets. Killing the task ends the worker, or leaves
    it behind.
    """

    def __init__(self, spark: SparkSession, seconds: float) -> None:
        """Nothing is watched yet.

        Args:
            spark: the session.
            seconds: the most that a task may take; twice that when it is done again.
        """
        self._spark = spark
        self._seconds = seconds
        self._seen: dict[int, float] = {}
        self._killed: set[int] = set()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(self._seconds / LOOKS_A_LIMIT):
            try:
                self._look()
            except (Py4JError, OSError) as error:
                # The stage ended meanwhile, or all of Spark did.
                log.debug("watchdog", reason=str(error))

    def _look(self) -> None:
        now = time.monotonic()
        active = self._spark.sparkContext.statusTracker().getActiveStageIds()
        self._seen = {stage: self._seen.get(stage, now) for stage in active}
        for stage, since in self._seen.items():
            # Most stages end long before: their tasks are not looked at.
            if now - since >= self._seconds * (1 - 1 / LOOKS_A_LIMIT):
                self._look_at(stage)

    def _look_at(self, stage: int) -> None:
        context = self._spark.sparkContext
        info = context.statusTracker().getStageInfo(stage)
        if info is None:
            return
        scala: Any = context._jsc.sc()
        tasks = scala.statusStore().taskList(stage, info.currentAttemptId, _MOST_TASKS)
        for number in range(tasks.size()):
            task = tasks.apply(number)
            age = time.time() - task.launchTime().getTime() / 1000
            # What is done again is done with care, which takes longer.
            limit = self._seconds * (2 if task.attempt() else 1)
            if task.status() == "RUNNING" and age > limit:
                self._kill(scala, stage, task, age)

    def _kill(self, scala: Any, stage: int, task: Any, age: float) -> None:
        if task.taskId() in self._killed:
            return
        self._killed.add(task.taskId())
        attempt = task.attempt() + 1
        reason = f"a task took longer than {self._seconds:g} s"
        log.warning("task_killed", reason=reason, attempt=attempt, seconds=round(age, 1))
        if attempt < ATTEMPTS:
            scala.killTaskAttempt(task.taskId(), True, reason)
        else:
            scala.cancelStage(stage, f"{reason}, {attempt} times")
