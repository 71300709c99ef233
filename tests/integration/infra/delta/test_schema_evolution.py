"""Tables of older and newer versions of the code: read, appended to, or refused."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from deltalake.schema import Field as DeltaField
from pyspark.sql import SparkSession

from scorestream.infra.delta.data_files import read_file
from scorestream.infra.delta.optimize import OptimizeOptions, cluster
from scorestream.infra.delta.spark_reader import read
from scorestream.infra.delta.table import Table
from scorestream.infra.delta.warehouse import Warehouse
from scorestream.infra.errors import DeltaError
from scorestream.infra.kafka.producer import Record
from scorestream.infra.times import MIN_SECONDS
from scorestream.wallets.core.scoring import Scoring
from scorestream.wallets.execution.history_lookup import wallet_files
from scorestream.wallets.execution.scoring_task import commit_files, score_records, write_scored
from scorestream.wallets.execution.table_rows import BatchFacts
from scorestream.wallets.schema.tables import REJECTS, SCORES, TRANSACTIONS
from scorestream.wallets.schema.views import CATALOG
from tools.testkit.records import records_of

YOUNG = "wallet_key"
MADE_UP = pa.field("grade", pa.string())


def append(warehouse: Warehouse, scoring: Scoring, batch: int, **unknown: Any) -> None:
    """One message scored, its rows committed; `unknown` are fields that no schema has."""
    row = {"document_id": "1", "action": "swap", "timestamp": 1, "poolId": "p", **unknown}
    entry = {"protocolType": "dexes", "transactions": [row], **unknown}
    value = json.dumps({"wallet_address": "0xAB", "data": [entry], **unknown}).encode()
    facts = BatchFacts("run", batch, 1.7e9, code_version="1")
    records = records_of([Record(b"k", value, 9000)], first_offset=batch)
    report = write_scored(
        score_records([records], (scoring,), include_transactions=True),
        warehouse.root,
        facts,
        include_transactions=True,
    )
    commit_files(warehouse, report.files, ("run", batch))


@pytest.fixture
def made(tmp_path: Path) -> Warehouse:
    warehouse = Warehouse(str(tmp_path / "warehouse"), CATALOG)
    warehouse.create_tables()
    return warehouse


@pytest.fixture
def older(tmp_path: Path, made: Warehouse, scoring: Scoring) -> Warehouse:
    """Tables with a row each, of before the young columns."""
    append(made, scoring, 0)
    warehouse = Warehouse(str(tmp_path / "older"), CATALOG)
    for table in (SCORES, TRANSACTIONS):
        rows = DeltaTable(made.path(table)).to_pyarrow_table().drop_columns([*table.added_later])
        write_deltalake(warehouse.path(table), rows)
    return warehouse


def by_duckdb(warehouse: Warehouse, table: Table) -> list[Any]:
    rows = DeltaTable(warehouse.path(table)).to_pyarrow_dataset()
    query = f"SELECT {YOUNG} FROM rows ORDER BY source_offset"
    found = duckdb.connect().register("rows", rows).execute(query).fetchall()
    return [row[0] for row in found]


@pytest.mark.spark
@pytest.mark.parametrize("table", [SCORES, TRANSACTIONS], ids=lambda table: table.name)
def test_an_older_table_gets_the_column_and_every_reader_sees_null(
    table: Table, older: Warehouse, scoring: Scoring, spark: SparkSession
) -> None:
    open_before = read(spark, older, table)
    files = older.files(table)
    older.create_tables()
    assert older.files(table) == files
    append(older, scoring, 1)
    older.create_tables()
    expected = [None, "0xab"]
    by_spark = read(spark, older, table).orderBy("source_offset").select(YOUNG).collect()
    assert [row[0] for row in by_spark] == expected
    by_delta = sorted(older.rows(table), key=lambda row: int(row["source_offset"]))
    assert [row[YOUNG] for row in by_delta] == expected
    assert all(by_delta[0][name] is None is not by_delta[1][name] for name in table.added_later)
    assert by_duckdb(older, table) == expected
    by_us = [read_file(uri, table.columns) for uri in older.files(table)]
    assert {rows[YOUNG][0].as_py() for rows in by_us} == set(expected)
    # Who began before knows nothing of the column, and goes on.
    assert YOUNG not in open_before.columns
    assert {row.wallet_address for row in open_before.collect()} == {"0xAB"}
    [bounds] = [file for file in wallet_files(older) if file.lowest is not None]
    assert (bounds.lowest, bounds.highest) == ("0xab", "0xab")


@pytest.mark.spark
def test_times_of_the_first_year_are_read_by_everyone(
    made: Warehouse, scoring: Scoring, spark: SparkSession
) -> None:
    append(made, scoring, 0, timestamp=MIN_SECONDS)
    first = datetime(1, 1, 1, tzinfo=UTC)
    [row] = made.rows(SCORES)
    assert (row["first_transaction_at"], row["last_transaction_at"]) == (first, first)
    [seen] = read(spark, made, SCORES).selectExpr("unix_seconds(first_transaction_at)").collect()
    assert seen[0] == MIN_SECONDS
    rows = DeltaTable(made.path(SCORES)).to_pyarrow_dataset()
    query = "SELECT epoch(last_transaction_at) FROM rows"
    found = duckdb.connect().register("rows", rows).execute(query).fetchall()
    assert found == [(MIN_SECONDS,)]


def widen(schema: pa.Schema, struct: str) -> pa.Schema:
    """A schema of a newer version: a column more, and a field more in a struct."""
    index = schema.get_field_index(struct)
    wider = pa.struct([*schema.field(index).type, MADE_UP])
    return schema.set(index, pa.field(struct, wider)).append(MADE_UP)


@pytest.mark.spark
@pytest.mark.parametrize(
    ("table", "struct"),
    [(SCORES, "features"), (TRANSACTIONS, "token_in")],
    ids=lambda x: str(x)[:9],
)
def test_a_newer_table_is_read_and_appended_to(
    table: Table,
    struct: str,
    tmp_path: Path,
    made: Warehouse,
    scoring: Scoring,
    spark: SparkSession,
) -> None:
    append(made, scoring, 0)
    newer = Warehouse(str(tmp_path / "newer"), CATALOG)
    wider = widen(table.columns, struct)
    rows = pa.Table.from_pylist(made.rows(table), wider)
    rows = rows.set_column(len(wider) - 1, MADE_UP, pa.array(["A"]))
    write_deltalake(newer.path(table), rows)
    newer.create_tables()
    append(newer, scoring, 1)
    assert [row.grade for row in read(spark, newer, table).orderBy("source_offset").collect()] == [
        "A",
        None,
    ]
    inside = read(spark, newer, table).select(f"{struct}.grade", f"{struct}.*").collect()
    assert len(inside) == 2
    assert sorted(str(row["grade"]) for row in newer.rows(table)) == ["A", "None"]
    ours = pa.concat_tables(read_file(uri, table.columns) for uri in newer.files(table))
    assert ours.schema == table.columns
    assert sorted(ours["source_offset"].to_pylist()) == [0, 1]
    scanned = DeltaTable(newer.path(table)).to_pyarrow_dataset()
    counted = duckdb.connect().register("t", scanned).execute("SELECT count(grade) FROM t")
    assert counted.fetchall() == [(1,)]


def less(kind: pa.DataType) -> pa.DataType:
    """A struct without its last field."""
    return pa.struct(list(kind)[:-1])


@pytest.mark.spark
def test_a_table_of_fewer_scorers_gets_the_fields_that_it_lacks(
    tmp_path: Path, made: Warehouse, scoring: Scoring, spark: SparkSession
) -> None:
    append(made, scoring, 0)
    fields = {field.name: field.type for field in SCORES.columns}
    kinds = {name: less(fields[name]) for name in ("features", "breakdown")}
    narrow = pa.schema([(name, kinds.get(name, kind)) for name, kind in fields.items()])
    older = Warehouse(str(tmp_path / "older"), CATALOG)
    rows = pa.Table.from_pylist(made.rows(SCORES), narrow)
    write_deltalake(older.path(SCORES), rows)
    older.create_tables()
    version = DeltaTable(older.path(SCORES)).version()
    older.create_tables()
    assert DeltaTable(older.path(SCORES)).version() == version
    append(older, scoring, 1)
    [full] = made.rows(SCORES)
    last = fields["features"][fields["features"].num_fields - 1].name
    expected = [(None, None), (full["features"][last], 0.0)]
    found = read(spark, older, SCORES).orderBy("source_offset")
    by_spark = found.select(f"features.{last}", "breakdown.swap.volume_score").collect()
    assert [tuple(row) for row in by_spark] == expected
    cluster(older, SCORES, OptimizeOptions())
    [file] = older.files(SCORES)
    for rows in (read_file(file, SCORES.columns).to_pylist(), older.rows(SCORES)):
        by_offset = sorted(rows, key=lambda row: int(row["source_offset"]))
        swaps = [row["breakdown"]["swap"] or {"volume_score": None} for row in by_offset]
        assert [
            (row["features"][last], swap["volume_score"])
            for row, swap in zip(by_offset, swaps, strict=True)
        ] == expected


@pytest.mark.parametrize(
    ("table", "column", "type_", "told"),
    [
        (SCORES, "as_of", pa.string(), "its column as_of is string, not int64"),
        (SCORES, "features", pa.struct([("num_swaps", pa.string())]), "its column features is"),
        (TRANSACTIONS, "token_in", pa.string(), "its column token_in is string, not struct"),
        (REJECTS, "value", pa.string(), "its column value is string, not binary"),
    ],
    ids=lambda x: str(x)[:12],
)
def test_a_column_of_another_type_is_refused_before_anything_is_written(
    table: Table, column: str, type_: pa.DataType, told: str, tmp_path: Path
) -> None:
    index = table.columns.get_field_index(column)
    DeltaTable.create(f"{tmp_path}/{table.name}", table.columns.set(index, pa.field(column, type_)))
    with pytest.raises(DeltaError, match=f"table {table.name} at .* cannot be used: {told}"):
        Warehouse(str(tmp_path), CATALOG).create_tables()
    assert DeltaTable(f"{tmp_path}/{table.name}").version() == 0


def test_an_unknown_column_that_must_not_be_null_is_refused(tmp_path: Path) -> None:
    columns = SCORES.columns.append(pa.field("grade", pa.string(), nullable=False))
    DeltaTable.create(f"{tmp_path}/scores", columns)
    with pytest.raises(DeltaError, match="its column grade is unknown and must not be null"):
        Warehouse(str(tmp_path), CATALOG).create_tables()


def test_unknown_fields_of_a_message_leave_no_trace(made: Warehouse, scoring: Scoring) -> None:
    append(made, scoring, 0)
    append(made, scoring, 1, colour={"of": ["the", "day"]}, version=2)
    for table in (SCORES, TRANSACTIONS):
        plain, other = sorted(made.rows(table), key=lambda row: int(row["source_offset"]))
        differing = {name for name in plain if plain[name] != other[name]}
        assert differing - {"processing_time_ms"} == {"source_offset", "batch_id"}
    assert made.rows(REJECTS) == []


def test_what_was_set_on_a_table_stays(made: Warehouse) -> None:
    log = DeltaTable(made.path(SCORES))
    log.alter.set_table_properties({"delta.checkpointInterval": "7"})
    log.alter.add_columns([DeltaField.from_arrow(MADE_UP)])
    version = log.version()
    made.create_tables()
    log = DeltaTable(made.path(SCORES))
    assert log.metadata().configuration["delta.checkpointInterval"] == "7"
    assert log.version() == version
