"""JSON lines, one message a line: split for the tasks, and read in them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from scorestream.infra.kafka.records import Records
from scorestream.infra.storage.csv_files import compression_of
from scorestream.infra.storage.filesystem import filesystem_of
from scorestream.infra.storage.input_files import found_files
from scorestream.wallets.core.dated_lines import parse_dated_line, undated_reject
from scorestream.wallets.core.decode import Reject, decode
from scorestream.wallets.core.pipeline import Scored, score_messages
from scorestream.wallets.core.scoring import Scorings
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
        self, scorings: Scorings, *, include_transactions: bool
    ) -> Iterator[tuple[Scored, Records]]:
        """Read and score, in batches bounded by bytes."""
        for records, undated in self._batches():
            scored = score_messages(
                records.values,
                records.as_of,
                scorings,
                include_transactions=include_transactions,
                refused=undated,
            )
            yield scored, records

    def decoded_batches(self) -> Iterator[DecodedBatch]:
        """Read, and decode the transactions of dexes, in batches bounded by bytes."""
        for records, undated in self._batches():
            yield DecodedBatch(records, decode(records.values, refused=undated))

    def _batches(self) -> Iterator[tuple[Records, list[Reject]]]:
        """Read in batches bounded by bytes; with each batch the rejects of what has no moment."""
        for offsets, lines in _lines(self):
            if self.as_of is not None:
                yield self._records(offsets, lines, np.full(len(lines), self.as_of)), []
                continue
            dated = [parse_dated_line(line) for line in lines]
            moments = np.array([0 if each is None else each.as_of for each in dated])
            # A line without a moment is kept as it is.
            values = [
                line if each is None else bytes(each.message)
                for line, each in zip(lines, dated, strict=True)
            ]
            undated = [undated_reject(at) for at, each in enumerate(dated) if each is None]
            yield self._records(offsets, values, moments), undated

    def _records(self, offsets: Offsets, values: Sequence[bytes], moments: Offsets) -> Records:
        return Records.without_keys(
            self.uri, offsets=offsets, timestamps=moments * 1000, values=values
        )


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
