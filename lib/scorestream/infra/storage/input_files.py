"""The files that somebody names as input."""

from __future__ import annotations

from scorestream.infra.error_text import error_summary
from scorestream.infra.errors import InputError
from scorestream.infra.storage.filesystem import as_uri, find_files


def found_files(given: str) -> list[tuple[str, int]]:
    """URIs and sizes of the files that a path, URI or pattern names.

    Raises:
        InputError: there is none.
    """
    try:
        files = find_files(as_uri(given))
    except OSError as error:
        raise InputError(f"{given} cannot be read: {error_summary(error)}") from None
    if not files:
        raise InputError(f"{given}: no such file")
    # Beside its files with rows Spark writes others that say how it went.
    return [found for found in files if found[0].rpartition("/")[2][:1] not in {"_", "."}] or files
