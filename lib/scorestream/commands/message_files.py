"""Reads files of messages, one a line, in batches bounded by bytes."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import BinaryIO, Final

import pyarrow as pa

from scorestream.infra.error_text import error_summary
from scorestream.infra.errors import InputError

STDIN: Final = "-"
BATCH_BYTES: Final = 8 * 1024 * 1024


@dataclass(frozen=True)
class Lines:
    """Lines of a file that are not blank.

    Attributes:
        name: of the file, as it was given.
        numbers: of the lines in the file, from 1.
    """

    name: str
    numbers: list[int] = field(default_factory=list)
    lines: list[bytes] = field(default_factory=list)


def read_lines(name: str) -> Iterator[Lines]:
    """Read the lines of a file.

    Args:
        name: a path, compressed if it ends with .gz, .zst, .bz2 or .lz4; `-` for stdin.

    Raises:
        InputError: it cannot be read.
    """
    try:
        with _opened(name) as file:
            yield from _batches(name, file)
    except OSError as error:
        raise InputError(f"{name} cannot be read: {error_summary(error)}") from None


def _opened(name: str) -> AbstractContextManager[BinaryIO]:
    if name == STDIN:
        # It is not ours to close; named twice, it is empty the second time.
        return nullcontext(sys.stdin.buffer)
    return io.BufferedReader(pa.input_stream(name, compression="detect"))


def _batches(name: str, file: BinaryIO) -> Iterator[Lines]:
    batch, size = Lines(name), 0
    for number, line in enumerate(file, start=1):
        if not line.strip():
            continue
        batch.numbers.append(number)
        batch.lines.append(line.removesuffix(b"\n"))
        size += len(line)
        if size >= BATCH_BYTES:
            yield batch
            batch, size = Lines(name), 0
    if batch.lines:
        yield batch
