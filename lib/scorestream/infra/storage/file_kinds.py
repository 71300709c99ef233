"""Kinds of files beside the tables, and what `forget --wallet` does with each.

Code that writes a new kind of file declares it; tables declare theirs in `infra/delta/table.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from fnmatch import fnmatchcase


class Treatment(Enum):
    """What `forget` does with a file that holds the wallet's address."""

    ROWS = "rows taken out"
    DELETED = "deleted"
    REDACTED = "address taken out"
    # Only the user can decide: it may be valuable, or what a model has learned.
    REPORTED = "stays: yours to delete"
    # It holds numbers, hashes or pictures: it is not searched.
    NOTHING = "cannot hold it"


@dataclass(frozen=True)
class FileKind:
    """A kind of file.

    Attributes:
        pattern: of their paths; ``*`` is any text, `/` included.
        content: what the files are.
        treatment: of files that hold the address.
        running: what replaces `.wallets/…` in the path to get the lock of the process that uses it.
    """

    pattern: str
    content: str
    treatment: Treatment
    running: str | None = None


def file_kind_of(path: str, kinds: Sequence[FileKind]) -> FileKind:
    """The kind of a file.

    Raises:
        LookupError: its kind is not declared.
    """
    for kind in kinds:
        if fnmatchcase(path, kind.pattern):
            return kind
    raise LookupError(f"{path}: declare its kind, and what `forget` does there")
