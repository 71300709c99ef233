"""A Spark standalone cluster of real processes on the loopback: for tests and benchmarks."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from scorestream.infra.errors import ScorestreamError
from tools.local.ports import free_port

START_SECONDS: Final = 60.0
_MASTER: Final = "org.apache.spark.deploy.master.Master"
_WORKER: Final = "org.apache.spark.deploy.worker.Worker"


class Cluster:
    """A master, and workers that come and go.

    Attributes:
        url: the master's.
        workers: the processes; their executors are their children.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        """Start a master.

        Args:
            folder: of logs and executors.
            environment: further variables of all processes.
        """
        port, ui_port = free_port(), free_port()
        self.url = f"spark://127.0.0.1:{port}"
        self.workers: list[subprocess.Popen[bytes]] = []
        self._folder = folder
        self._environment = environment
        self._page = f"http://127.0.0.1:{ui_port}/json/"
        master = ["--host", "127.0.0.1", "--port", str(port), "--webui-port", str(ui_port)]
        self._master = _start(folder / "master", environment, _MASTER, *master)

    def wait_until_alive(self, count: int) -> None:
        """Wait until the master is there, and so many workers."""
        _wait_for(self._page, "ALIVE", 1 + count)

    def add_worker(self, cores: int = 1) -> None:
        """Start one more worker."""
        here = self._folder / f"worker-{len(self.workers)}"
        options = ["--host", "127.0.0.1", "--cores", str(cores), "--memory", "1g"]
        options += ["--webui-port", str(free_port()), "--work-dir", str(here), self.url]
        self.workers.append(_start(here, self._environment, _WORKER, *options))

    def end(self) -> None:
        """End all processes."""
        for process in [*reversed(self.workers), self._master]:
            _end(process)


@contextmanager
def running_cluster(
    folder: Path, workers: int = 2, cores: int = 1, environment: Mapping[str, str] | None = None
) -> Iterator[Cluster]:
    """Run a master and its workers, and end them all at the end."""
    cluster = Cluster(folder, environment or {})
    try:
        cluster.wait_until_alive(0)
        for _ in range(workers):
            cluster.add_worker(cores)
        cluster.wait_until_alive(workers)
        yield cluster
    finally:
        cluster.end()


@contextmanager
def standalone_cluster(folder: Path, workers: int = 2, cores: int = 1) -> Iterator[str]:
    """Run a master and its workers; gives the master's URL, and ends them all at the end."""
    with running_cluster(folder, workers, cores) as cluster:
        yield cluster.url


def _start(
    folder: Path, environment: Mapping[str, str], main: str, *arguments: str
) -> subprocess.Popen[bytes]:
    folder.mkdir(parents=True)
    spec = importlib.util.find_spec("pyspark")
    if spec is None or not spec.submodule_search_locations:
        raise ScorestreamError("no pyspark")
    home = spec.submodule_search_locations[0]
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(
            [f"{home}/bin/spark-class", main, *arguments],
            env=os.environ
            | environment
            | {"SPARK_HOME": home, "SPARK_SCALA_VERSION": "2.13", "SPARK_LOCAL_IP": "127.0.0.1"},
            stdout=log,
            stderr=log,
            # Executors are children of their worker: all of them go with its group.
            start_new_session=True,
        )


def _wait_for(url: str, text: str, count: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310  our own loopback
            if answer.read().decode().count(text) >= count:
                return
        time.sleep(0.2)
    raise ScorestreamError(f"the Spark cluster did not come up: see {url}")


def _end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(timeout=20)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
