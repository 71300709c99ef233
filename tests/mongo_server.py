"""A MongoDB-protocol server for tests: that of MONGODB_TEST_URL, or FerretDB built from `mongo/`.

Building needs Go; it happens once for each content of `mongo/`, into `.scorestream/`.
"""

from __future__ import annotations

import hashlib
import os
import shutil
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

SOURCE: Final = Path(__file__).resolve().parent / "mongo"
CACHE: Final = Path(__file__).resolve().parents[1] / ".scorestream" / "mongo"
BUILD_SECONDS: Final = 900
START_SECONDS: Final = 60
STOP_SECONDS: Final = 10

NO_GO: Final = "needs Go on PATH to build tests/mongo"
NO_SERVER: Final = f"{NO_GO}, or MONGODB_TEST_URL"


def has_go() -> bool:
    return shutil.which("go") is not None


def has_server() -> bool:
    return bool(os.environ.get("MONGODB_TEST_URL")) or has_go()


@contextmanager
def any_server() -> Iterator[str]:
    """The URL of MONGODB_TEST_URL's server, else of one of our own."""
    given = os.environ.get("MONGODB_TEST_URL")
    if given:
        yield given
    else:
        with own_server() as url:
            yield url


@contextmanager
def own_server() -> Iterator[str]:
    """Start a server with empty databases on a free port, give its URL, and stop it."""
    program = _built()
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


def _built() -> Path:
    """The server program, built if its sources have changed since."""
    sources = [*sorted(SOURCE.glob("*.go")), SOURCE / "go.mod", SOURCE / "go.sum"]
    content = hashlib.sha256(b"\0".join(path.read_bytes() for path in sources))
    program = CACHE / f"mongo-{content.hexdigest()[:16]}"
    if not program.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        # Built aside and renamed, so that a test run beside this one never starts half a program.
        aside = program.with_suffix(f".{os.getpid()}")
        _go_build(aside)
        aside.rename(program)
    return program


def _go_build(program: Path) -> None:
    options = ["-trimpath", "-buildvcs=false", "-tags", "ferretdb_no_postgresql"]
    built = subprocess.run(
        ["go", "build", *options, "-o", program, "."],
        cwd=SOURCE,
        capture_output=True,
        text=True,
        timeout=BUILD_SECONDS,
        check=False,
    )
    if built.returncode != 0:
        raise RuntimeError(f"go build in {SOURCE} failed:\n{built.stderr[-4000:]}")


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
                f"the server of tests/mongo did not start:\n{log.read_text()[-4000:]}"
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
