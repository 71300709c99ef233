"""Errors for want of disk space say which place is full."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from scorestream.infra.errors import DiskFullError
from scorestream.infra.spark.compat_texts import host_of_lost_task
from scorestream.infra.storage.filesystem import free_bytes

# As the operating system says it: Python, the JVM and delta-rs all pass it on.
NO_SPACE: Final = "No space left on device"
_MEGABYTE: Final = 1024 * 1024


@contextmanager
def full_disk_explained(*places: str) -> Iterator[None]:
    """Raise an error for want of space with the space that each place has.

    Args:
        places: paths and URIs of what is written, besides the temporary folder.

    Raises:
        DiskFullError: in place of whatever was raised for that reason.
    """
    try:
        yield
    except Exception as error:
        text = f"{error} {error.__cause__}"
        if NO_SPACE not in text:
            raise
        raise DiskFullError(
            f"no space left on device ({_free([*places, tempfile.gettempdir()])}{_elsewhere(text)})"
            ": free some, then start again, which goes on where this start ended"
        ) from error


def _elsewhere(text: str) -> str:
    """Where Spark says that it was a task on another machine, which has disks of its own."""
    host = host_of_lost_task(text)
    return f"; or a disk of {host}, where a task failed, is the full one" if host else ""


def _free(places: list[str]) -> str:
    free = {place: free_bytes(place) for place in places}
    known = [f"{place}: {n // _MEGABYTE:,} MB free" for place, n in free.items() if n is not None]
    return ", ".join(known)
