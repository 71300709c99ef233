"""The tables as Spark reads them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from pyspark.sql import DataFrame, SparkSession

from scorestream.io.delta.warehouse import Warehouse
from scorestream.tables import COMMENTS, TABLES, VIEWS, Table, View


def read(spark: SparkSession, warehouse: Warehouse, table: Table) -> DataFrame:
    """The table's rows as of now."""
    return spark.read.format("delta").load(warehouse.path(table))


def register(spark: SparkSession, warehouse: Warehouse) -> None:
    """Make every table and view known by its name."""

    def register_table(table: Table) -> None:
        location = _quoted(warehouse.path(table))
        spark.sql(f"CREATE TABLE IF NOT EXISTS {table.name} USING delta LOCATION {location}")

    # Mostly waiting; one after the other they take seconds.
    with ThreadPoolExecutor(len(TABLES)) as pool:
        list(pool.map(register_table, TABLES))
    for view in VIEWS:
        _register_view(spark, view)


def _register_view(spark: SparkSession, view: View) -> None:
    # No temporary view: Spark forgets the comment of one.
    columns = ", ".join(
        f"{name} COMMENT {_quoted(COMMENTS[name])}" for name in spark.sql(view.sql).columns
    )
    spark.sql(
        f"CREATE OR REPLACE VIEW {view.name} ({columns}) "
        f"COMMENT {_quoted(view.comment)} AS {view.sql}"
    )


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
