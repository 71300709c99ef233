"""Delta tables whose columns have other names in the files: read right, or refused by that name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from scorestream.infra.delta.table_features import (
    arrow_dataset,
    list_reader_features,
    read_table_batches,
)
from scorestream.infra.delta.warehouse import Warehouse
from scorestream.infra.errors import DeltaError, InputError
from scorestream.tabular.inference.output_files import write_batches
from scorestream.tabular.training.data.ingest import read_batches
from scorestream.wallets.schema.tables import REPLAYS
from scorestream.wallets.schema.views import CATALOG

ROWS = pa.table({"id": range(5), "v": [0.0, 1.5, None, 4.5, 6.0]})


def mapped(folder: Path, **renamed: str) -> str:
    """A table with column mapping; of columns that are given, the name that files have of them."""
    fields: list[dict[str, Any]] = []
    for number, (name, kind) in enumerate({"id": "long", "v": "double"}.items(), start=1):
        names: dict[str, Any] = {"delta.columnMapping.id": number}
        names |= {"delta.columnMapping.physicalName": renamed.get(name, name)}
        fields.append({"name": name, "type": kind, "nullable": True, "metadata": names})
    properties = {"delta.columnMapping.mode": "name", "delta.columnMapping.maxColumnId": "2"}
    metadata = {
        "id": "f9e4882d-1bff-4423-8a55-0f32a267897d",
        "format": {"provider": "parquet", "options": {}},
        "schemaString": json.dumps({"type": "struct", "fields": fields}),
        "partitionColumns": [],
        "configuration": properties,
        "createdTime": 0,
    }
    (folder / "_delta_log").mkdir(parents=True)
    pq.write_table(
        ROWS.rename_columns([renamed.get(n, n) for n in ROWS.column_names]), folder / "a"
    )
    add = {"path": "a", "partitionValues": {}, "size": (folder / "a").stat().st_size}
    add |= {"modificationTime": 0, "dataChange": True}
    protocol = {"minReaderVersion": 2, "minWriterVersion": 5}
    actions = [{"protocol": protocol}, {"metaData": metadata}, {"add": add}]
    log = "\n".join(map(json.dumps, actions))
    (folder / "_delta_log" / f"{0:020}.json").write_text(log)
    return str(folder)


def test_columns_of_another_name_in_the_files_are_read(tmp_path: Path) -> None:
    path = mapped(tmp_path / "t", id="col-1", v="col-2")
    assert list_reader_features(DeltaTable(path)) == {"columnMapping"}
    assert pa.concat_tables(read_batches(path)).to_pylist() == ROWS.to_pylist()
    [empty, *rest] = read_table_batches(DeltaTable(path), ["v"])
    assert (empty.num_rows, empty.column_names) == (0, ["v"])
    assert pa.concat_tables(rest)["v"].to_pylist() == ROWS["v"].to_pylist()


def test_what_reads_and_writes_files_itself_refuses_them(tmp_path: Path) -> None:
    path = mapped(tmp_path / "t", v="col-2")
    with pytest.raises(DeltaError, match="feature columnMapping, with which it cannot be read"):
        arrow_dataset(DeltaTable(path))
    with pytest.raises(InputError, match=r"columnMapping.*cannot be written.*another --output"):
        write_batches(path, ROWS.schema, [ROWS])
    assert pa.concat_tables(read_batches(path)).num_rows == ROWS.num_rows


def test_a_mapping_to_the_same_names_does_no_harm(tmp_path: Path) -> None:
    """As of a table that got the mapping later, and of which no column was renamed since."""
    path = mapped(tmp_path / "t")
    assert list_reader_features(DeltaTable(path)) == set()
    assert arrow_dataset(DeltaTable(path)).to_table().to_pylist() == ROWS.to_pylist()
    assert write_batches(path, ROWS.schema, [ROWS, ROWS]) == 10
    assert pa.concat_tables(read_batches(path)).num_rows == 10


def test_a_table_of_ours_with_renamed_columns_is_not_used(tmp_path: Path) -> None:
    warehouse = Warehouse(str(tmp_path), CATALOG)
    mapped(Path(warehouse.path(REPLAYS)), v="col-2")
    with pytest.raises(DeltaError, match="columnMapping, with which it cannot be used here"):
        warehouse.create_table(REPLAYS)
    with pytest.raises(DeltaError, match="columnMapping, with which it cannot be used here"):
        warehouse.files(REPLAYS)
