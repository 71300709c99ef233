"""The tables as Spark reads them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from pyspark.sql import DataFrame, SparkSession

from scorestream.io.delta.warehouse import Warehouse
from scorestream.tables import TABLES, VIEWS, Table


def read(spark: SparkSession, warehouse: Warehouse, table: Table) -> DataFrame:
    """The table's rows as of now."""
    return spark.read.format("delta").load(warehouse.path(table))


def register(spark: SparkSession, warehouse: Warehouse) -> None:
    """Make every table and view known by its name."""

    def register_table(table: Table) -> None:
        location = warehouse.path(table).replace("'", "\\'")
        spark.sql(f"CREATE TABLE IF NOT EXISTS {table.name} USING delta LOCATION '{location}'")

    # Mostly waiting; one after the other they take seconds.
    with ThreadPoolExecutor(len(TABLES)) as pool:
        list(pool.map(register_table, TABLES))
    for view in VIEWS:
        spark.sql(view.sql).createOrReplaceTempView(view.name)
