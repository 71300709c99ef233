"""CSV files are read as Python's csv module reads them, wherever blocks of bytes end."""

from __future__ import annotations

import csv
import gzip
import io
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scorestream.infra.errors import InputError
from scorestream.infra.storage import csv_files as module
from scorestream.infra.storage.csv_files import csv_batches
from scorestream.tabular.training.data.ingest import read_batches

PIECES = ["a", "bc", "1", ",", "\n", "\r\n", "\r", '"', " ", "é", "\t", "'", "\\", "#", "\\N"]
values = st.lists(st.sampled_from(PIECES), max_size=4).map("".join)


@st.composite
def tables(draw: st.DrawFn) -> str:
    """The text of a table whose values are quoted where they must be, and elsewhere by chance."""
    columns, end = draw(st.integers(2, 4)), draw(st.sampled_from(["\n", "\r\n"]))

    def field(value: str) -> str:
        quoted = any(letter in value for letter in ',"\r\n') or draw(st.booleans())
        return '"' + value.replace('"', '""') + '"' if quoted else value

    rows = draw(
        st.lists(st.lists(values, min_size=columns, max_size=columns), min_size=1, max_size=12)
    )
    lines = [[f"c{number}" for number in range(columns)], *rows]
    return end.join(",".join(map(field, line)) for line in lines) + draw(st.sampled_from(["", end]))


@given(text=tables(), block=st.integers(64, 200))
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_rows_are_those_of_pythons_csv_module(
    text: str, block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BLOCK_BYTES", block)
    path = tmp_path / "t.csv"
    path.write_bytes(text.encode())
    header, *rows = csv.reader(io.StringIO(text, newline=""))
    found = pa.concat_tables(read_batches(str(path)))
    assert found.column_names == header
    assert [list(row.values()) for row in found.to_pylist()] == rows
    # Nothing is null where it has no quotes; what is quoted is a value, also "" and "\\N".
    nulls = pa.concat_tables(csv_batches(path.as_uri(), nulls=True))
    for row, given_row in zip(nulls.to_pylist(), rows, strict=True):
        assert [value or "" for value in row.values()] == [
            "" if value is None else given_value
            for value, given_value in zip(row.values(), given_row, strict=True)
        ]
        assert {g for v, g in zip(row.values(), given_row, strict=True) if v is None} <= {"", "\\N"}


def test_nothing_is_null_and_quotes_are_a_value(tmp_path: Path) -> None:
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(b'a,b\n,""\n\\N,"\\N"\n'))
    rows = pa.concat_tables(csv_batches(path.as_uri(), nulls=True)).to_pylist()
    assert rows == [{"a": None, "b": ""}, {"a": None, "b": "\\N"}]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "is empty: it needs a header"),
        (b"a,b,a\n1,2,3\n", "column 'a' is there more than once"),
        (b'a,b\n"1\n2",3\n4\n', "line 4: has 1 values, and the header 2"),
        (b'a,b\r\n"1\r\n2",3\r\n"4,5\r\n6,7\r\n', "line 4: has 1 values, and the header 2"),
        (b'a,b\n"1\n2",3\n\n4,caf\xe9\n', "line 5: is no UTF-8: convert the file"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_line(
    content: bytes, told: str, tmp_path: Path
) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    with pytest.raises(InputError, match=told):
        list(csv_batches(path.as_uri()))
