"""A full disk, told as what it is."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from scorestream.errors import DiskFullError
from scorestream.io.filesystem import free_bytes

# As the operating system says it: Python, the JVM and delta-rs all pass it on.
NO_SPACE: Final = "No space left on device"
_MEGABYTE: Final = 1024 * 1024


@contextmanager
def full_disk_explained(*places: str) -> Iterator[None]:
    """Say of an error for want of space where it is wanted.

    Args:
        places: paths and URIs of what is written, besides the temporary folder.

    Raises:
        DiskFullError: in place of whatever was raised for that reason.
    """
    try:
        yield
    except Exception as error:
        if NO_SPACE not in f"{error} {error.__cause__}":
            raise
        raise DiskFullError(
            f"no space left on device ({_free([*places, tempfile.gettempdir()])}): free some, then "
            "start again, which goes on where this start ended"
        ) from error


def _free(places: list[str]) -> str:
    free = {place: free_bytes(place) for place in places}
    known = [f"{place}: {n // _MEGABYTE:,} MB free" for place, n in free.items() if n is not None]
    return ", ".join(known)
