"""The job as a process that is started, watched and killed."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from scorestream.infra.config.settings import PROJECT_ROOT

START_SECONDS = 240.0
END_SECONDS = 300.0
POLL_SECONDS = 0.05


class Job:
    """One start of `./spark-submit.sh`: a process group, its output in a file."""

    def __init__(
        self,
        arguments: list[str],
        environment: Mapping[str, str],
        log: Path,
        prefix: Sequence[str] = (),
    ) -> None:
        self.log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [*prefix, str(PROJECT_ROOT / "spark-submit.sh"), *arguments],
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    @property
    def is_running(self) -> bool:
        return self.process.poll() is None

    @property
    def output(self) -> str:
        """What it wrote so far, standard output and error together."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def events(self, name: str) -> list[dict[str, Any]]:
        """The structured log lines of that name."""
        lines = [line for line in self.output.splitlines() if line.startswith("{")]
        return [event for line in lines if (event := _parse_line(line)).get("event") == name]

    def wait_for(
        self,
        event: str,
        condition: Callable[[], bool],
        seconds: float,
        pause: float = POLL_SECONDS,
    ) -> None:
        """Wait for a condition while the job runs.

        Raises:
            AssertionError: it did not come in time, or the job ended before.
        """
        deadline = time.monotonic() + seconds
        while not condition():
            assert self.is_running, f"the job ended before {event}:\n{self.output[-4000:]}"
            assert time.monotonic() < deadline, f"{event} did not come:\n{self.output[-4000:]}"
            time.sleep(pause)

    def linger(self, seconds: float) -> None:
        """Let it run for so long; it must not end meanwhile."""
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return
        raise AssertionError(f"the job ended with {code}:\n{self.output[-4000:]}")

    def wait_for_batch(self, count: int = 1) -> None:
        """Wait until it has delivered so many batches."""
        self.wait_for(f"batch {count}", lambda: len(self.events("batch")) >= count, START_SECONDS)

    def wait_for_stopped_worker(self) -> psutil.Process:
        """Wait until a worker has stopped itself (SIGSTOP), as a fault has it do."""
        self.wait_for("a stopped worker", lambda: bool(self._find_stopped()), START_SECONDS)
        return self._find_stopped()[0]

    def _find_stopped(self) -> list[psutil.Process]:
        return [p for p in self.workers() if _status(p) == psutil.STATUS_STOPPED]

    def wait(self, seconds: float = END_SECONDS) -> int:
        """Wait for its end; the exit code."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the job goes on:\n{self.output[-4000:]}") from None

    def stop(self) -> int:
        """Ask it to stop in peace, and wait; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def kill(self) -> None:
        """Kill everything of it at once."""
        processes = self._processes()
        if self.is_running:
            # With what it has started since: of those in groups of their own the list tells.
            os.killpg(self.process.pid, signal.SIGKILL)
        for each in processes:
            kill_process(each)
        self.process.wait()

    def jvm(self) -> psutil.Process:
        """The JVM of the driver."""
        return next(p for p in self._processes() if "SparkSubmit" in command(p))

    def driver(self) -> psutil.Process:
        """The Python of the driver."""
        return next(p for p in self._processes() if f"{PROJECT_ROOT}/jobs/" in _python_command(p))

    def workers(self) -> list[psutil.Process]:
        """The Python workers, without the daemon that forks them."""
        daemons = [p for p in self._processes() if "pyspark.daemon" in command(p)]
        numbers = {p.pid for p in daemons}
        return [p for p in daemons if p.ppid() in numbers]

    def _processes(self) -> list[psutil.Process]:
        if not self.is_running:
            # Its number may be another's by now.
            return []
        try:
            root = psutil.Process(self.process.pid)
            return [root, *root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []


def _parse_line(line: str) -> dict[str, Any]:
    try:
        parsed: dict[str, Any] = json.loads(line)
    except ValueError:
        # A line that a kill cut off.
        return {}
    return parsed


def command(process: psutil.Process) -> str:
    """Its command line; empty if it is gone."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def _status(process: psutil.Process) -> str:
    try:
        return str(process.status())
    except psutil.Error:
        return ""


def _python_command(process: psutil.Process) -> str:
    line = command(process)
    return "" if "SparkSubmit" in line or "spark-submit.sh" in line else line


def kill_process(process: psutil.Process) -> None:
    """Kill -9, if it is still there."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(process.pid, signal.SIGKILL)
