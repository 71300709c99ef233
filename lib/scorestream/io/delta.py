"""The one module that reads and writes Delta tables."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from delta.tables import DeltaTable
from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.pandas.types import from_arrow_schema
from pyspark.sql.types import StructField, StructType

from scorestream.errors import DeltaError
from scorestream.tables import COMMENTS, TABLES, VIEWS, Table


def spark_schema(table: Table) -> StructType:
    """The table's columns as Spark types, all nullable, each with its comment."""
    return StructType([_commented(f) for f in from_arrow_schema(table.columns)])


def _commented(field: StructField) -> StructField:
    comment = COMMENTS.get(field.name)
    metadata = {"comment": comment} if comment else {}
    return StructField(field.name, field.dataType, True, metadata)


class Warehouse:
    """The Delta tables below one folder or object-store prefix."""

    def __init__(self, spark: SparkSession, root: str) -> None:
        self.spark = spark
        self.root = root

    def path(self, table: Table) -> str:
        """Where the table is."""
        return f"{self.root}/{table.name}"

    def create_tables(self) -> None:
        """Make every table known by its name; create empty ones where absent.

        Raises:
            DeltaError: a table has other columns than the code, or the folder cannot be written.
        """
        # Creating a table is mostly waiting; one after the other they take a quarter of a minute.
        with ThreadPoolExecutor(len(TABLES)) as pool:
            list(pool.map(self._register_table, TABLES))

    def create_views(self) -> None:
        """Make every view known by its name, over the tables created before."""
        for view in VIEWS:
            self.spark.sql(view.sql).createOrReplaceTempView(view.name)

    def _register_table(self, table: Table) -> None:
        try:
            (
                DeltaTable.createIfNotExists(self.spark)
                .tableName(table.name)
                .addColumns(spark_schema(table))
                .comment(table.comment)
                .location(self.path(table))
                .execute()
            )
        except (PySparkException, Py4JJavaError) as error:
            raise DeltaError(
                f"table {table.name} at {self.path(table)} cannot be used: {_reason(error)}; check "
                "SCORESTREAM_WAREHOUSE, that it can be written, and the version that wrote it"
            ) from error

    def read(self, table: Table) -> DataFrame:
        """The table's rows as of now."""
        return self.spark.read.format("delta").load(self.path(table))

    def is_empty(self, table: Table) -> bool:
        """Whether the table holds no file; quicker than asking for a row."""
        return not self.read(table).inputFiles()

    def append(self, table: Table, rows: DataFrame, transaction: tuple[str, int] | None) -> None:
        """Append rows.

        Args:
            table: where to.
            rows: at least the table's columns.
            transaction: (application id, version); Delta writes nothing if it holds that version
                of the application already. None appends always.
        """
        writer = rows.select(table.columns.names).write.format("delta").mode("append")
        if transaction is not None:
            application, version = transaction
            writer = writer.option("txnAppId", application).option("txnVersion", version)
        writer.save(self.path(table))

    def replace(self, table: Table, rows: Iterable[tuple[object, ...]]) -> None:
        """Replace the whole content of a small table, if it differs from what is there."""
        schema = spark_schema(table)
        new = self.spark.createDataFrame(list(rows), schema)
        if set(self.read(table).collect()) != set(new.collect()):
            new.coalesce(1).write.format("delta").mode("overwrite").save(self.path(table))


def _reason(error: PySparkException | Py4JJavaError) -> str:
    """The first line of what went wrong, on the JVM's side where it did there."""
    text = error.java_exception if isinstance(error, Py4JJavaError) else error
    return str(text).strip().partition("\n")[0]
