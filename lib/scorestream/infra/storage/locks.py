"""Locks of the operating system: one process at a time, gone with it even after kill -9."""

from __future__ import annotations

import fcntl
import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scorestream.infra.config.settings import normalize_location
from scorestream.infra.errors import InUseError


@contextmanager
def exclusive_lock(
    location: str, advice: str = "give this one its own (a stream: --checkpoint)"
) -> Iterator[None]:
    """Hold the only right to use a location; the operating system ends it with the process.

    Args:
        location: path or URI.
        advice: what else the user can do than stop who has it.

    Raises:
        InUseError: another process of this machine uses it.
    """
    path = Path(_lock_file(location))
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InUseError(
                f"{location} is in use by another process: stop that one, or {advice}"
            ) from None
        yield


def _lock_file(place: str) -> str:
    location = normalize_location(place)
    if "://" not in location:
        return f"{location}.lock"
    # A remote folder cannot be locked; this still keeps two streams of one machine apart.
    name = hashlib.sha256(location.encode()).hexdigest()[:16]
    return f"{tempfile.gettempdir()}/scorestream-{name}.lock"
