"""Tables as output: rows stay in order, whatever the format."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake

from scorestream.infra.errors import InputError
from scorestream.tabular.inference.output_files import write_batches
from scorestream.tabular.training.data.ingest import read_sample
from tools.testkit.models import read_table

ROWS = 5_000


def write(path: Path, rows: pa.Table) -> None:
    batches = [rows.slice(start, 700) for start in range(0, rows.num_rows, 700)]
    assert write_batches(str(path), rows.schema, batches) == rows.num_rows


@pytest.mark.parametrize("name", ["x.csv", "x.csv.gz", "x.parquet", "a folder/x"])
def test_rows_stay_in_order(tmp_path: Path, name: str) -> None:
    for _ in range(3):
        write(tmp_path / name, pa.table({"number": range(ROWS)}))
        found = read_table(str(tmp_path / name))["number"].cast(pa.int64())
        assert found.to_pylist() == list(range(ROWS))


def test_a_delta_table_may_have_had_other_columns_and_parts(tmp_path: Path) -> None:
    path = tmp_path / "out"
    given = pa.table({"kind": ["a", "b"], "x": [1, 2]})
    write_deltalake(path, given, partition_by="kind")
    naive = pa.array([1_000_000_001], pa.timestamp("ns"))
    rows = pa.table({"kind": ["c"], "when": naive, "small": pa.array([7], pa.uint8())})
    for _ in range(2):
        write(path, rows)
        table = DeltaTable(path)
        assert table.metadata().partition_columns == []
        assert read_table(str(path)).cast(rows.schema, safe=False)["small"].to_pylist() == [7]
        seconds = pc.cast(read_table(str(path))["when"], pa.timestamp("s"), safe=False)
        assert seconds.cast(pa.int64()).to_pylist() == [1]
    before = table.version()
    assert len(table.file_uris()) == 1
    with pytest.raises(InputError, match=r"cannot be written: .* 200 not in range"):
        write(path, rows.set_column(2, "small", pa.array([200], pa.uint8())))
    assert DeltaTable(path).version() == before


@pytest.mark.parametrize("name", ["x.csv", "x.parquet", "x"])
def test_batches_get_the_types_of_the_first_one(tmp_path: Path, name: str) -> None:
    path, schema = str(tmp_path / name), pa.schema([("x", pa.int64())])
    other = pa.table({"x": [2.0, 3.0]})
    assert write_batches(path, schema, [pa.table({"x": [1]}), other]) == 3
    assert read_table(path)["x"].cast(pa.int64()).to_pylist() == [1, 2, 3]
    with pytest.raises(InputError, match=r"cannot be written: .*2\.5"):
        write_batches(path, schema, [pa.table({"x": [1]}), pa.table({"x": [2.5]})])


def test_files_of_a_table_may_differ_in_types_that_one_type_holds(tmp_path: Path) -> None:
    folder = tmp_path / "parts"
    folder.mkdir()
    first = pa.table({"name": pa.nulls(1), "count": [1], "share": [0.5]})
    second = pa.table({"share": [1, 2], "name": ["a", None], "count": [1.5, None]})
    for place, part in enumerate((first, second)):
        pq.write_table(part, folder / f"{place}.parquet")
    expected = {"name": [None, "a", None], "count": [1.0, 1.5, None], "share": [0.5, 1.0, 2.0]}
    assert read_table(str(folder)).to_pydict() == expected
    sample, count = read_sample(str(folder), 10)
    assert (sample.to_pydict(), count) == (expected, 3)
    for other, told in (
        (first.set_column(1, "count", pa.array(["many"])), "column 'count' is string, .* double"),
        (first.drop_columns("share"), "column 'share' is not in all files"),
        (first.append_column("more", pa.array([1])), "column 'more' is not in all files"),
    ):
        pq.write_table(other, folder / "2.parquet")
        with pytest.raises(InputError, match=rf"2\.parquet: {told}"):
            read_table(str(folder))
