"""JSON lines, one message a line: split for the tasks, and read in them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from scorestream.infra.error_text import error_summary
from scorestream.infra.errors import InputError
from scorestream.infra.kafka.records import Records
from scorestream.infra.storage.csv_files import compression_of
from scorestream.infra.storage.filesystem import as_uri, filesystem_of, find_files
from scorestream.wallets.core.dated_lines import parse_dated_line, undated_reject
from scorestream.wallets.core.decode import Decoded, decode
from scorestream.wallets.core.pipeline import Scored, score_decoded
from scorestream.wallets.core.scoring import Scoring
from scorestream.wallets.execution.decoded_batch import DecodedBatch

BATCH_BYTES: Final = 8 * 1024 * 1024
MAX_SPLIT_BYTES: Final = 128 * 1024 * 1024
MIN_SPLIT_BYTES: Final = 4 * 1024 * 1024
LOOK_BYTES: Final = 64 * 1024
NO_END: Final = 2**63 - 1

Offsets = npt.NDArray[np.int64]


@dataclass(frozen=True)
class LinesSplit:
    """The lines of a file that start at `start` or later and before `end`.

    Attributes:
        as_of: unix seconds at which all messages are scored; None where each line has its own.
    """

    uri: str
    start: int
    end: int
    as_of: int | None

    @property
    def size(self) -> int:
        """Bytes, compressed ones where the file is."""
        return self.end - self.start

    def score(
        self, scoring: Scoring, *, include_transactions: bool
    ) -> Iterator[tuple[Scored, Records]]:
        """Read and score, in batches bounded by bytes."""
        for records, decoded in self.decoded_batches(include_transactions=include_transactions):
            scored = score_decoded(
                decoded, records.as_of, scoring, include_transactions=include_transactions
            )
            yield scored, records

    def decoded_batches(self, *, include_transactions: bool) -> Iterator[DecodedBatch]:
        """Read and decode, in batches bounded by bytes."""
        for offsets, lines in _lines(self):
            if self.as_of is None:
                yield from self._dated_pieces(
                    offsets, lines, include_transactions=include_transactions
                )
            else:
                records = self._records(offsets, lines, np.full(len(lines), self.as_of))
                yield DecodedBatch(
                    records, decode(lines, include_transactions=include_transactions)
                )

    def _dated_pieces(
        self, offsets: Offsets, lines: Sequence[bytes], *, include_transactions: bool
    ) -> Iterator[DecodedBatch]:
        decoded = [parse_dated_line(line) for line in lines]
        dated = np.array([line is not None for line in decoded], dtype=np.bool_)
        good = [line for line in decoded if line is not None]
        moments = np.array([line.as_of for line in good], dtype=np.int64)
        values = [bytes(line.message) for line in good]
        if good:
            records = self._records(offsets[dated], values, moments)
            yield DecodedBatch(records, decode(values, include_transactions=include_transactions))
        if not dated.all():
            bad = [line for line, is_dated in zip(lines, dated, strict=True) if not is_dated]
            records = self._records(offsets[~dated], bad, np.zeros(len(bad), dtype=np.int64))
            yield DecodedBatch(
                records, _undated(len(bad), include_transactions=include_transactions)
            )

    def _records(self, offsets: Offsets, values: Sequence[bytes], moments: Offsets) -> Records:
        return Records.without_keys(
            self.uri, offsets=offsets, timestamps=moments * 1000, values=values
        )


def _undated(count: int, *, include_transactions: bool) -> Decoded:
    """All messages rejected, as their moment is unknown."""
    rejects = [undated_reject(i) for i in range(count)]
    return replace(decode([], include_transactions=include_transactions), rejects=rejects)


def plan_lines(pattern: str, as_of: int | None, parallelism: int) -> list[LinesSplit]:
    """Split files for the tasks.

    Args:
        pattern: path or URI of a file or folder, or a pattern with ``*`` in its last part.
        as_of: unix seconds at which all messages are scored; None where each line has its own.
        parallelism: how many tasks run at once.

    Raises:
        InputError: there is no such file.
    """
    files = found_files(pattern)
    share = sum(size for _, size in files) // parallelism + 1
    step = min(MAX_SPLIT_BYTES, max(MIN_SPLIT_BYTES, share))
    return [split for uri, size in files for split in _splits(uri, size, step, as_of)]


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


def _splits(uri: str, size: int, step: int, as_of: int | None) -> Iterator[LinesSplit]:
    # Nobody can begin in the middle of a compressed file.
    part = max(size, 1) if compression_of(uri) else step
    for start in range(0, size, part):
        yield LinesSplit(uri, start, min(start + part, size), as_of)


def _lines(split: LinesSplit) -> Iterator[tuple[Offsets, list[bytes]]]:
    """The split's lines that are not blank with their offsets, in batches bounded by bytes."""
    with _opened(split) as file:
        start = _first_line(file, split.start)
        end = NO_END if compression_of(split.uri) else split.end
        carried, at_end = b"", False
        while start < end and not at_end:
            read = file.read(BATCH_BYTES)
            at_end = not read
            lines = (carried + read).split(b"\n")
            # The rest of the last line comes with the next read, if there is one.
            carried = b"" if at_end else lines.pop()
            lengths = np.fromiter(map(len, lines), dtype=np.int64, count=len(lines))
            ends = start + np.cumsum(lengths + 1)
            offsets = ends - lengths - 1
            start = int(ends[-1]) if lines else start
            found = [i for i in np.flatnonzero(offsets < end) if lines[i].strip()]
            if found:
                yield offsets[found], [lines[i] for i in found]


def _opened(split: LinesSplit) -> pa.NativeFile:
    filesystem, path = filesystem_of(split.uri)
    compression = compression_of(split.uri)
    if compression:
        return filesystem.open_input_stream(path, compression=compression)
    return filesystem.open_input_file(path)


def _first_line(file: pa.NativeFile, start: int) -> int:
    """Go to the first line that starts at `start` or later; returns its offset."""
    position = max(0, start - 1)
    if start == 0:
        return 0
    file.seek(position)
    while block := file.read(LOOK_BYTES):
        found = block.find(b"\n")
        if found >= 0:
            position += found + 1
            break
        position += len(block)
    file.seek(position)
    return position
