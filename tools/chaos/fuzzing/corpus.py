"""The messages that mutation starts from: small files, one message each."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from scorestream.infra.errors import InputError

CORPUS: Final = Path(__file__).parent / "corpus"


def read_corpus(folder: Path = CORPUS) -> dict[str, bytes]:
    """All messages of a folder and the folders below, by path.

    Raises:
        InputError: there is none.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    if not files:
        raise InputError(f"{folder}: no messages to start from; give --corpus a folder of files")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}
