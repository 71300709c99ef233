"""Tasks that take too long are killed, so that Spark does them again."""

from __future__ import annotations

import threading
import time
from collections import Counter
from typing import Any, Final, Self

import structlog
from py4j.protocol import Py4JError
from pyspark.sql import SparkSession

log = structlog.get_logger()

# A task that was killed does not count for Spark as one that failed.
MOST_KILLS: Final = 4
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
        # By attempt of a task, its first sight on the monotonic clock: Spark's clock may be set.
        self._seen: dict[int, float] = {}
        self._killed: set[int] = set()
        # By stage and number of the task.
        self._kills: Counter[tuple[int, int]] = Counter()
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
        stages = self._spark.sparkContext.statusTracker().getActiveStageIds()
        running = {
            task.taskId(): (stage, task) for stage in stages for task in self._running(stage)
        }
        now = time.monotonic()
        self._seen = {number: self._seen.get(number, now) for number in running}
        for number, (stage, task) in running.items():
            age = now - self._seen[number]
            # What is done again is done with care, which takes longer.
            if age > self._seconds * (2 if task.attempt() else 1):
                self._kill(stage, task, age)

    def _running(self, stage: int) -> list[Any]:
        """Attempts of a stage's tasks, as Spark's status store has them."""
        context = self._spark.sparkContext
        info = context.statusTracker().getStageInfo(stage)
        if info is None:
            return []
        store: Any = context._jsc.sc().statusStore()
        tasks = store.taskList(stage, info.currentAttemptId, _MOST_TASKS)
        every = [tasks.apply(number) for number in range(tasks.size())]
        return [task for task in every if task.status() == "RUNNING"]

    def _kill(self, stage: int, task: Any, age: float) -> None:
        if task.taskId() in self._killed:
            return
        self._killed.add(task.taskId())
        self._kills[stage, task.index()] += 1
        kills = self._kills[stage, task.index()]
        reason = f"a task took longer than {self._seconds:g} s"
        attempt = task.attempt() + 1
        log.warning("task_killed", reason=reason, attempt=attempt, seconds=round(age, 1))
        scala: Any = self._spark.sparkContext._jsc.sc()
        if kills < MOST_KILLS:
            scala.killTaskAttempt(task.taskId(), True, reason)
        else:
            scala.cancelStage(stage, f"{reason}, {kills} times")
