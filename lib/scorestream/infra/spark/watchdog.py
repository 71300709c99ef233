"""Tasks that do not get on are killed, so that Spark does them again."""

from __future__ import annotations

import threading
import time
from collections import Counter
from contextlib import ExitStack, suppress
from typing import Any, Final, Self

import structlog
from py4j.protocol import Py4JError
from pyspark.sql import SparkSession

from scorestream.infra.spark.heartbeat import Patience, Signs, watched

log = structlog.get_logger()

# A task that was killed does not count for Spark as one that failed.
MAX_KILLS: Final = 4
LOOKS_PER_LIMIT: Final = 10
SIGNS_PER_LIMIT: Final = 30
# A store that does not answer holds up no end of a job.
CLEAR_SECONDS: Final = 10.0
_MAX_TASKS: Final = 100_000


class Watchdog:
    """Looks after the tasks of a session, in threads of its own.

    However long a task takes, it is left alone while it says that it gets on (`progress`).

    Spark's own means (`spark.python.worker.killOnIdleTimeout`) is a TERM, which a worker that is
    stopped, or that waits for a dead disk, never gets. Killing the task ends the worker, or leaves
    it behind.
    """

    def __init__(self, spark: SparkSession, seconds: float, folder: str) -> None:
        """Nothing is watched yet.

        Args:
            spark: the session.
            seconds: the most that a task may go without getting on; twice that when it is done
                again.
            folder: for signs of life, which all machines share, and no other session has.
        """
        self._spark = spark
        self._seconds = seconds
        self._signs = Signs(folder, seconds / SIGNS_PER_LIMIT)
        # Read in a thread of its own: where the store hangs, tasks are killed all the same.
        self._running_tasks: list[int] = []
        self._seen: dict[int, str] = {}
        self._patience = Patience(seconds)
        self._killed: set[int] = set()
        # By stage and number of the task.
        self._kills: Counter[tuple[int, int]] = Counter()
        self._ended = threading.Event()
        self._looker = threading.Thread(target=self._run, name="watchdog", daemon=True)
        self._reader = threading.Thread(target=self._read, name="watchdog signs", daemon=True)
        self._open = ExitStack()

    def __enter__(self) -> Self:
        with suppress(OSError):
            # Of a session that was killed.
            self._signs.clear()
        self._open.enter_context(watched(self._signs))
        self._looker.start()
        self._reader.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._open.close()
        self._ended.set()
        self._looker.join()
        self._reader.join(CLEAR_SECONDS)

    def _read(self) -> None:
        while not self._ended.wait(self._seconds / LOOKS_PER_LIMIT):
            try:
                self._seen = self._signs.read(self._running_tasks)
            except OSError as error:
                log.debug("watchdog", reason=str(error))
        with suppress(OSError):
            self._signs.clear()

    def _run(self) -> None:
        while not self._ended.wait(self._seconds / LOOKS_PER_LIMIT):
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
        self._running_tasks = list(running)
        tried = {number: task.attempt() for number, (_, task) in running.items()}
        overdue = self._patience.overdue(tried, self._seen, time.monotonic())
        for number, age in overdue.items():
            self._kill(*running[number], age)

    def _running(self, stage: int) -> list[Any]:
        """Attempts of a stage's tasks, as Spark's status store has them."""
        context = self._spark.sparkContext
        info = context.statusTracker().getStageInfo(stage)
        if info is None:
            return []
        store: Any = context._jsc.sc().statusStore()
        tasks = store.taskList(stage, info.currentAttemptId, _MAX_TASKS)
        every = [tasks.apply(number) for number in range(tasks.size())]
        return [task for task in every if task.status() == "RUNNING"]

    def _kill(self, stage: int, task: Any, age: float) -> None:
        if task.taskId() in self._killed:
            return
        self._killed.add(task.taskId())
        self._kills[stage, task.index()] += 1
        kills = self._kills[stage, task.index()]
        reason = f"a task did not get on for {self._seconds:g} s"
        attempt = task.attempt() + 1
        log.warning("task_killed", reason=reason, attempt=attempt, seconds=round(age, 1))
        scala: Any = self._spark.sparkContext._jsc.sc()
        if kills < MAX_KILLS:
            scala.killTaskAttempt(task.taskId(), True, reason)
        else:
            scala.cancelStage(stage, f"{reason}, {kills} times")
