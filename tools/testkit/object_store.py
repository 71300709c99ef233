"""An S3 store on the loopback: Versity's gateway over a folder, built from `s3/`.

It answers puts on condition (`If-None-Match`) as Amazon's S3 does, which commits of Delta rest on.
"""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from unittest.mock import patch

from scorestream.infra.storage import filesystem
from tools.local.ports import HOST, free_port
from tools.testkit.go_programs import build_program

SOURCE: Final = Path(__file__).resolve().parent / "s3"
BUCKET: Final = "warehouse"
START_SECONDS: Final = 60
KEY: Final = "tests"


class S3Store:
    """A store with one empty bucket; what is in it outlives its process."""

    def __init__(self, folder: Path) -> None:
        self._program = build_program(SOURCE, "github.com/versity/versitygw/cmd/versitygw")
        self._folder = folder
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        (folder / BUCKET).mkdir(parents=True)

    @property
    def environment(self) -> dict[str, str]:
        """What a client has to know."""
        return {
            "AWS_ENDPOINT_URL": f"http://{HOST}:{self._port}",
            "AWS_ALLOW_HTTP": "true",
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": KEY,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def start(self) -> None:
        """Start it, and wait until it answers."""
        with (self._folder.parent / "s3.log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._program, "--port", f"{HOST}:{self._port}", "posix", self._folder],
                env=os.environ | {"ROOT_ACCESS_KEY": KEY, "ROOT_SECRET_KEY": KEY},
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the S3 store did not start: see {log.name}")
            time.sleep(0.05)

    def kill(self) -> None:
        """Kill it, if it runs."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex((HOST, self._port)) == 0


@contextmanager
def s3_store(folder: Path) -> Iterator[S3Store]:
    """A running store that this process and all that it starts take for S3."""
    store = S3Store(folder)
    with patch.dict(os.environ, store.environment):
        # A client that was made for another store's bucket of this name is none of this one's.
        filesystem.forget_clients()
        store.start()
        try:
            yield store
        finally:
            store.kill()
            filesystem.forget_clients()
