"""Reads tables and views with Spark."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from pyspark.sql import DataFrame, SparkSession

from scorestream.infra.delta.table import Table, View
from scorestream.infra.delta.warehouse import Warehouse


def read(spark: SparkSession, warehouse: Warehouse, table: Table) -> DataFrame:
    """The table's rows as of now."""
    return spark.read.format("delta").load(warehouse.path(table))


def register(spark: SparkSession, warehouse: Warehouse) -> None:
    """Register every table and view by name."""
    catalog = warehouse.catalog

    def register_table(table: Table) -> None:
        location = _quote(warehouse.path(table))
        spark.sql(f"CREATE TABLE IF NOT EXISTS {table.name} USING delta LOCATION {location}")

    # Mostly waiting; one after the other they take seconds.
    with ThreadPoolExecutor(len(catalog.tables)) as pool:
        list(pool.map(register_table, catalog.tables))
    for view in catalog.views:
        _register_view(spark, view)


def _register_view(spark: SparkSession, view: View) -> None:
    # No temporary view: Spark forgets the comment of one.
    columns = ", ".join(
        f"{name} COMMENT {_quote(view.column_comments[name])}"
        for name in spark.sql(view.sql).columns
    )
    spark.sql(
        f"CREATE OR REPLACE VIEW {view.name} ({columns}) "
        f"COMMENT {_quote(view.comment)} AS {view.sql}"
    )


def _quote(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
