"""CSV files, with a header, as text: RFC 4180, where a line break in quotes is part of a value.

A file is read from its beginning: no line of it tells whether it is within quotes, so that none is
a safe place to begin.
"""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterator
from typing import Final

import pyarrow as pa
import pyarrow.csv as pa_csv

from scorestream.infra.error_text import error_summary
from scorestream.infra.errors import InputError
from scorestream.infra.storage.filesystem import filesystem_of

BLOCK_BYTES: Final = 8 * 1024 * 1024
COMPRESSIONS: Final = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2", ".lz4": "lz4"}
# What databases write for null, beside nothing at all.
_NULLS: Final = ("", "\\N")
_LINES: Final = pa_csv.ParseOptions(newlines_in_values=True)


def compression_of(uri: str) -> str | None:
    """How a file is compressed, by its name."""
    return next((name for end, name in COMPRESSIONS.items() if uri.endswith(end)), None)


def csv_header(uri: str) -> list[str]:
    """The names of a file's columns.

    Raises:
        InputError: there is no header, or a name twice.
        OSError: it cannot be read.
    """
    with _in_blocks(uri) as stream:
        try:
            reader = pa_csv.open_csv(stream, _options(), _LINES)
        except pa.ArrowInvalid as error:
            if "Empty CSV" in str(error):
                raise InputError(f"{uri}: is empty: it needs a header and rows") from None
            raise _explain(uri, error) from None
        with reader:
            names = list(reader.schema.names)
    refuse_repeated_names(uri, names)
    return names


def refuse_repeated_names(path: str, names: list[str]) -> None:
    """Refuse repeated column names.

    Raises:
        InputError: there are.
    """
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise InputError(f"{path}: column {repeated[0]!r} is there more than once")


def csv_batches(uri: str, *, nulls: bool = False) -> Iterator[pa.Table]:
    r"""The rows of a file in their order, some at a time; first none, with the columns.

    Args:
        uri: of the file.
        nulls: whether nothing, or \N, is null where it has no quotes; else every value is text.

    Raises:
        InputError: there is no header; or a row has more or fewer values, or no UTF-8: with its
            line.
        OSError: it cannot be read.
    """
    names = csv_header(uri)
    convert = pa_csv.ConvertOptions(
        column_types=dict.fromkeys(names, pa.string()),
        strings_can_be_null=nulls,
        quoted_strings_can_be_null=False,
        null_values=_NULLS if nulls else (),
    )
    yield pa.schema([(name, pa.string()) for name in names]).empty_table()
    try:
        with (
            _in_blocks(uri) as stream,
            pa_csv.open_csv(stream, _options(), _LINES, convert) as reader,
        ):
            for batch in reader:
                yield pa.Table.from_batches([batch])
    except pa.ArrowInvalid as error:
        raise _explain(uri, error) from None


def _options() -> pa_csv.ReadOptions:
    return pa_csv.ReadOptions(block_size=BLOCK_BYTES, use_threads=False)


class _Blocks:
    """A file in blocks of which none ends between the two bytes of a line break.

    Arrow would take the second one, at the beginning of the next block, for a blank line, and drop
    it from a value in quotes.
    """

    def __init__(self, stream: pa.NativeFile) -> None:
        self._stream = stream
        self._kept = b""

    @property
    def closed(self) -> bool:
        return bool(self._stream.closed)

    def close(self) -> None:
        self._stream.close()

    def read(self, size: int) -> bytes:
        block = self._kept + bytes(self._stream.read(size - len(self._kept)))
        self._kept = b""
        if len(block) > 1 and block.endswith(b"\r"):
            block, self._kept = block[:-1], b"\r"
        return block


def _in_blocks(uri: str) -> pa.NativeFile:
    return pa.PythonFile(_Blocks(_open(uri)), mode="r")


def _open(uri: str) -> pa.NativeFile:
    filesystem, path = filesystem_of(uri)
    return filesystem.open_input_stream(path, compression=compression_of(uri))


def _explain(uri: str, error: pa.ArrowInvalid) -> InputError:
    """Why a file cannot be read, with the line: Arrow tells neither that nor the reason well."""
    # Its own limit is 128 KB a value; the file is read once more, and no further than the row.
    csv.field_size_limit(sys.maxsize)
    with io.TextIOWrapper(_open(uri), "utf-8-sig", "surrogateescape", newline="") as text:
        reader, line, columns = csv.reader(text), 1, 0
        for row in reader:
            columns = columns or len(row)
            problem = _problem(row, columns)
            if row and problem:
                return InputError(f"{uri}, line {line}: {problem}")
            line = reader.line_num + 1
    return InputError(f"{uri}: cannot be read: {error_summary(error)}")


def _problem(row: list[str], columns: int) -> str | None:
    if len(row) != columns:
        return f"has {len(row)} values, and the header {columns}: are all quotes closed?"
    try:
        "".join(row).encode()
    except UnicodeEncodeError:
        return "is no UTF-8: convert the file, for instance with iconv -f latin1 -t utf8"
    return None
