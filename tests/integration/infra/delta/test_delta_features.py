"""Tables that Spark writes with features of Delta that readers must heed."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable
from pyspark.sql import SparkSession

from scorestream.infra.config.settings import Settings
from scorestream.infra.delta.duckdb_reader import connect, refresh
from scorestream.infra.delta.table_features import list_reader_features
from scorestream.infra.delta.warehouse import Warehouse
from scorestream.infra.errors import DeltaError, InputError
from scorestream.tabular.training.data.ingest import read_batches
from scorestream.wallets.backfill.job import run_backfill
from scorestream.wallets.backfill.planning import BackfillOptions
from scorestream.wallets.schema.tables import REJECTS, SCORES
from scorestream.wallets.schema.views import CATALOG

pytestmark = pytest.mark.spark

NOW = 1_800_000_000
# What makes a table of it, and what the feature is called.
FEATURES = {
    "delta.columnMapping.mode = 'name'": "columnMapping",
    "delta.columnMapping.mode = 'id'": "columnMapping",
    "delta.enableDeletionVectors = 'true'": "deletionVectors",
    "delta.checkpointPolicy = 'v2', delta.checkpointInterval = '1'": "v2Checkpoint",
}


def made(spark: SparkSession, path: Path, properties: str) -> list[dict[str, object]]:
    """A table of transactions, of which one was deleted; what it holds, in the order of files."""
    spark.sql(
        f"CREATE TABLE delta.`{path}` (wallet_address string, document_id string, action string, "
        "timestamp bigint, token_in_amount_usd double, at timestamp_ntz, more struct<a: string>) "
        f"USING delta TBLPROPERTIES ({properties})"
    )
    spark.sql(
        f"INSERT INTO delta.`{path}` SELECT concat('w', id % 3), string(id), 'swap', 1600000000 + "
        "id, id * 1.5, timestamp_ntz'2024-01-01 00:00:00', named_struct('a', string(id)) FROM "
        "range(0, 30, 1, 1)"
    )
    spark.sql(f"DELETE FROM delta.`{path}` WHERE document_id = '7'")
    return [row.asDict(recursive=True) for row in spark.table(f"delta.`{path}`").collect()]


def test_foreign_tables_are_read_right_or_refused_by_the_name_of_the_feature(
    spark: SparkSession, warehouse: Warehouse, tmp_path: Path
) -> None:
    for number, (properties, feature) in enumerate(FEATURES.items()):
        path = tmp_path / str(number)
        expected = made(spark, path, properties)
        assert feature in list_reader_features(DeltaTable(str(path)))
        assert pa.concat_tables(read_batches(str(path))).to_pylist() == expected
        settings = Settings(scorestream_warehouse=warehouse.root)
        run_backfill(BackfillOptions(str(path), (NOW,), run_id=properties), settings)
        scores = [row for row in warehouse.rows(SCORES) if row["run_id"] == properties]
        assert sum(row["transaction_count"] for row in scores) == 29
        volume = sum(row["features"]["total_swap_volume"] for row in scores)
        assert volume == sum(1.5 * number for number in range(30)) - 1.5 * 7
    assert warehouse.rows(REJECTS) == []
    path = tmp_path / "wide"
    made(spark, path, "delta.enableTypeWidening = 'true'")
    with pytest.raises(InputError, match=r"has the Delta feature .*typeWidening.* cannot be read"):
        list(read_batches(str(path)))


def test_a_table_of_ours_with_rows_that_are_only_marked_as_deleted_is_refused(
    spark: SparkSession, warehouse: Warehouse, tmp_path: Path
) -> None:
    path = warehouse.path(REJECTS)
    warehouse.write(
        REJECTS, pa.Table.from_pylist([{"error_code": c} for c in "ab"], REJECTS.columns)
    )
    spark.sql(f"ALTER TABLE delta.`{path}` SET TBLPROPERTIES (delta.enableDeletionVectors = true)")
    assert len(warehouse.files(REJECTS)) == 1
    spark.sql(f"DELETE FROM delta.`{path}` WHERE error_code = 'a'")
    for use in (warehouse.create_tables, lambda: warehouse.files(REJECTS)):
        with pytest.raises(DeltaError, match=r"only marked as deleted.*REORG TABLE"):
            use()
    with connect(CATALOG) as connection, pytest.raises(DeltaError, match="feature deletionVectors"):
        refresh(connection, warehouse, "SELECT * FROM rejects")
    for statement in (
        "ALTER TABLE {} SET TBLPROPERTIES (delta.enableDeletionVectors = false)",
        "REORG TABLE {} APPLY (PURGE)",
    ):
        spark.sql(statement.format(f"delta.`{path}`"))
    warehouse.create_tables()
    assert len(warehouse.files(REJECTS)) == 1
