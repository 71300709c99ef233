"""A Spark Connect server on the loopback, and programs that are its clients."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pyspark

from scorestream.infra.config.settings import PROJECT_ROOT
from tools.local.ports import free_port, is_free
from tools.testkit.installation import QUICK_START, kill_group, wait_until

_SPARK: Final = Path(pyspark.__file__).parent
_SERVER: Final = "org.apache.spark.sql.connect.service.SparkConnectServer"
_PATH: Final = os.pathsep.join([str(PROJECT_ROOT / "lib"), str(PROJECT_ROOT)])
SPARK_SUBMIT: Final = str(_SPARK / "bin" / "spark-submit")
# Of a plain spark-submit whose workers import this library.
ENVIRONMENT: Final = {
    "SPARK_HOME": str(_SPARK),
    "SPARK_LOCAL_IP": "127.0.0.1",
    "PYSPARK_PYTHON": sys.executable,
    "PYTHONPATH": _PATH,
}


@contextmanager
def connect_server(folder: Path) -> Iterator[str]:
    """Run a server; gives its address. Its workers import this library.

    Args:
        folder: of its log and its warehouse.
    """
    port = free_port()
    settings = {
        "spark.master": "local[2]",
        "spark.ui.enabled": "false",
        "spark.connect.grpc.binding.address": "127.0.0.1",
        "spark.connect.grpc.binding.port": str(port),
        "spark.sql.warehouse.dir": str(folder / "warehouse"),
        "spark.sql.shuffle.partitions": "4",
    }
    options = [part for name, value in settings.items() for part in ("--conf", f"{name}={value}")]
    log = folder / "server.log"
    with log.open("w", encoding="utf-8") as file:
        process = subprocess.Popen(
            [
                SPARK_SUBMIT,
                *("--class", _SERVER, *QUICK_START.split(maxsplit=1), *options, "spark-internal"),
            ],
            cwd=folder,
            env=os.environ | ENVIRONMENT,
            stdout=file,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            wait_until(lambda: _is_up(process, port, log))
            yield f"sc://127.0.0.1:{port}"
        finally:
            kill_group(process)
            process.wait()


def _is_up(process: subprocess.Popen[str], port: int, log: Path) -> bool:
    assert process.poll() is None, log.read_text(encoding="utf-8")[-4000:]
    return not is_free(port)


def run_client(address: str, program: str, *arguments: str) -> Any:
    """Run a program as a client, which has a session `spark`; gives the JSON that it prints last.

    A process of its own: one that has a session of the other kind can have none.
    """
    begin = (
        "import json, sys\nfrom pyspark.sql import SparkSession\n"
        f"spark = SparkSession.builder.remote({address!r}).getOrCreate()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", begin + program, *arguments],
        env=os.environ | {"PYTHONPATH": _PATH},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])
