"""A Spark standalone cluster of real processes on the loopback: for tests and benchmarks."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from scorestream.errors import ScorestreamError
from scorestream.local.broker import free_port

START_SECONDS: Final = 60.0
_MASTER: Final = "org.apache.spark.deploy.master.Master"
_WORKER: Final = "org.apache.spark.deploy.worker.Worker"


@contextmanager
def standalone_cluster(folder: Path, workers: int = 2, cores: int = 1) -> Iterator[str]:
    """Run a master and its workers; gives the master's URL, and ends them all at the end."""
    port, ui_port = free_port(), free_port()
    url = f"spark://127.0.0.1:{port}"
    master = ["--host", "127.0.0.1", "--port", str(port), "--webui-port", str(ui_port)]
    processes = [_start(folder / "master", _MASTER, *master)]
    try:
        _wait_for(f"http://127.0.0.1:{ui_port}/json/", "ALIVE", 1)
        for number in range(workers):
            here = folder / f"worker-{number}"
            options = ["--host", "127.0.0.1", "--cores", str(cores), "--memory", "1g"]
            options += ["--webui-port", str(free_port()), "--work-dir", str(here), url]
            processes.append(_start(here, _WORKER, *options))
        _wait_for(f"http://127.0.0.1:{ui_port}/json/", "ALIVE", 1 + workers)
        yield url
    finally:
        for process in reversed(processes):
            _end(process)


def _start(folder: Path, main: str, *arguments: str) -> subprocess.Popen[bytes]:
    folder.mkdir(parents=True)
    found = importlib.util.find_spec("pyspark")
    if found is None or not found.submodule_search_locations:
        raise ScorestreamError("no pyspark")
    home = found.submodule_search_locations[0]
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(
            [f"{home}/bin/spark-class", main, *arguments],
            env=os.environ
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
