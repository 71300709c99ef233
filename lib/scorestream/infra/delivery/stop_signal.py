"""A clean stop: on TERM or INT the running micro-batch is finished, and no other begun.

spark-submit.sh has the JVM ignore both signals (it would die before Python hears of them) and
forwards them to this process, whose id it reads from a file of its control folder. A stop that was
asked for before this process could receive it is a file there, too.
"""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType

from pyspark.sql import SparkSession
from pyspark.sql.streaming.query import StreamingQuery

from scorestream.infra.cli.launcher import control_folder
from scorestream.infra.spark.compat import wait_for_interrupt


class StopSignal:
    """Whether a stop was asked for; it keeps further batches from starting."""

    def __init__(self) -> None:
        self._asked = threading.Event()
        self._waiting = threading.Event()

    def handle_signals(self) -> None:
        """Take TERM and INT; once more after a session is built, which takes INT for itself."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._ask)

    def listen(self) -> None:
        """Take the signals, and tell the wrapper whom to forward them to."""
        self.handle_signals()
        folder = control_folder()
        if folder is not None:
            (folder / "driver.pid").write_text(str(os.getpid()), encoding="ascii")
            if (folder / "stop").exists():
                self._asked.set()

    def _ask(self, _signal: int, _frame: FrameType | None) -> None:
        self._asked.set()

    @property
    def asked(self) -> bool:
        """Whether a stop was asked for."""
        return self._asked.is_set()

    def hold_if_asked(self, spark: SparkSession) -> None:
        """Called at the start of a batch: where a stop was asked for, wait for the query's end.

        The wait is a sleep of the query's own JVM thread, which the end of the query interrupts:
        Spark takes that for what it is, a stop, and neither commits nor fails the batch.
        """
        if self.asked:
            self._waiting.set()
            wait_for_interrupt(spark)

    def wait(self, query: StreamingQuery) -> None:
        """Wait until the query ends, by itself or because a stop was asked for.

        Raises:
            StreamingQueryException: the query failed.
        """
        while not query.awaitTermination(1):
            idle = self._waiting.is_set() or not query.status["isTriggerActive"]
            if self.asked and idle:
                query.stop()
