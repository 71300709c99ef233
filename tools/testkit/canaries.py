"""Secrets that may be found nowhere, and the places where a running job could show them."""

from __future__ import annotations

import base64
import json
import os
import re
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from html import unescape
from pathlib import Path
from urllib.parse import urljoin, urlsplit

PAUSE_SECONDS = 0.1


def needles(secrets: Mapping[str, str]) -> dict[bytes, str]:
    """What to look for, with the secret that it is a sign of: each as it is, and in base64.

    Args:
        secrets: letters and digits by name, which URLs, HTML and JSON leave as they are.
    """
    return {text: name for name, secret in secrets.items() for text in _forms(secret.encode())}


def _forms(secret: bytes) -> list[bytes]:
    # In base64 a text looks different at each of three positions; what its neighbours have a part
    # in is cut off.
    shifted = [base64.b64encode(b"\0" * shift + secret)[4:-4] for shift in range(3)]
    return [secret, *shifted]


@dataclass
class Leaks:
    """What was looked at, and what was found in it."""

    needles: Mapping[bytes, str]
    seen: set[str] = field(default_factory=set)
    found: set[tuple[str, str]] = field(default_factory=set)
    _versions: dict[Path, tuple[int, int]] = field(default_factory=dict)

    def look(self, where: str, content: bytes) -> None:
        self.seen.add(where)
        self.found |= {(where, name) for text, name in self.needles.items() if text in content}

    def look_into(self, folder: Path) -> None:
        """All files of a folder but libraries, where they have changed since the last look."""
        # Unlike Path.rglob it passes over folders that go away meanwhile.
        for root, _, names in os.walk(folder):
            for path in (Path(root, name) for name in names):
                with suppress(FileNotFoundError):
                    if path.is_file() and path.suffix not in {".jar", ".so"}:
                        self._file(path)

    def _file(self, path: Path) -> None:
        status = path.stat()
        version = status.st_mtime_ns, status.st_size
        if self._versions.get(path) != version:
            self._versions[path] = version
            self.look(str(path), path.read_bytes())


@contextmanager
def watch_for_leaks(session: int, folder: Path, leaks: Leaks) -> Iterator[None]:
    """Look, as long as this lasts, at the command lines of a session and at temporary files.

    Raises:
        BaseException: whatever kept it from looking.
    """
    over = threading.Event()

    def watch() -> None:
        while not over.wait(PAUSE_SECONDS):
            for process in Path("/proc").glob("[0-9]*"):
                _command_line(process, session, leaks)
            leaks.look_into(folder)

    with ThreadPoolExecutor(1) as threads:
        watcher = threads.submit(watch)
        try:
            yield
        finally:
            over.set()
        watcher.result()


def _command_line(process: Path, session: int, leaks: Leaks) -> None:
    try:
        if os.getsid(int(process.name)) == session:
            content = (process / "cmdline").read_bytes()
            leaks.look(f"ps: {content[:40].decode(errors='replace')}", content)
    except (ProcessLookupError, FileNotFoundError):
        return


def look_at_web(start: str, leaks: Leaks) -> None:
    """Spark's pages: all that are linked, each in one order of its tables, and two by script."""
    known = {start, *(urljoin(start, page) for page in SCRIPTED)}
    waiting = [*known]
    while waiting:
        url = waiting.pop()
        content = fetch(url)
        leaks.look(urlsplit(url)._replace(scheme="", netloc="").geturl(), content)
        links = re.findall(r"""(?:href|src)=["']([^"'#]+)""", content.decode(errors="replace"))
        for link in {urljoin(url, unescape(link)) for link in links} - known:
            if link.startswith(start) and not re.search(r"/static/|[.]sort=|[.]pageSize=", link):
                known.add(link)
                waiting.append(link)


def look_at_rest(start: str, leaks: Leaks) -> None:
    """Spark's REST interface, whatever it has of the one application."""
    applications = urljoin(start, "api/v1/applications")
    [application] = json.loads(fetch(applications))
    for page in REST:
        leaks.look(f"REST {page}", fetch(f"{applications}/{application['id']}/{page}"))


SCRIPTED = (
    "executors/threadDump/?executorId=driver",
    "executors/heapHistogram/?executorId=driver",
)
REST = (
    "environment",
    "jobs",
    "stages?details=true",
    "executors",
    "executors/driver/threads",
    "storage/rdd",
    "sql?details=true&planDescription=true&length=1000",
)


def fetch(url: str) -> bytes:
    """A page; of one that fails, the page that says so."""
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            content: bytes = answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.read()
    return content
