"""A MongoDB-protocol server for tests: that of MONGODB_TEST_URL, or FerretDB built from `mongo/`.

Building needs Go; it happens once for each content of `mongo/`, into `.scorestream/`.
"""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from tools.testkit.go_programs import build_program, has_go

SOURCE: Final = Path(__file__).resolve().parent / "mongo"
OPTIONS: Final = ("-tags", "ferretdb_no_postgresql")
START_SECONDS: Final = 60
STOP_SECONDS: Final = 10

NO_GO: Final = "needs Go on PATH to build tools/testkit/mongo"
NO_SERVER: Final = f"{NO_GO}, or MONGODB_TEST_URL"


def has_server() -> bool:
    return bool(os.environ.get("MONGODB_TEST_URL")) or has_go()


@contextmanager
def any_server() -> Iterator[str]:
    """The URL of MONGODB_TEST_URL's server, else of one of our own."""
    configured = os.environ.get("MONGODB_TEST_URL")
    if configured:
        yield configured
    else:
        with own_server() as url:
            yield url


@contextmanager
def own_server() -> Iterator[str]:
    """Start a server with empty databases on a free port, give its URL, and stop it."""
    program = build_program(SOURCE, options=OPTIONS)
    port = _free_port()
    with tempfile.TemporaryDirectory(prefix="mongo-") as folder:
        log = Path(folder) / "log"
        with log.open("wb") as output:
            # The pipe is the server's life-line: it ends when this process does, even by kill -9.
            process = subprocess.Popen(
                [program, str(port), folder],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            url = f"mongodb://127.0.0.1:{port}/"
            _wait_for_answer(url, process, log)
            yield url
        finally:
            _stop(process)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _wait_for_answer(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not _answers(url):
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(
                f"the server of tools/testkit/mongo did not start:\n{log.read_text()[-4000:]}"
            )


def _answers(url: str) -> bool:
    client: MongoClient[dict[str, Any]]
    with MongoClient(url, serverSelectionTimeoutMS=500) as client:
        try:
            client.admin.command("ping")
        except PyMongoError:
            return False
    return True


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.communicate(timeout=STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
