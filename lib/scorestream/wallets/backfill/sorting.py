"""Rows of any order, brought together: by wallet, or by the message that they came in."""

from __future__ import annotations

import structlog
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from scorestream.infra.delta.spark_reader import read
from scorestream.infra.delta.warehouse import Warehouse
from scorestream.infra.storage.filesystem import as_uri, find_files
from scorestream.wallets.backfill.stored_messages import COLUMNS
from scorestream.wallets.core import schemas
from scorestream.wallets.core.rules import SOURCE_ID
from scorestream.wallets.schema.sql_rules import FLAT_COLUMNS, STORED_WALLET_KEY
from scorestream.wallets.schema.tables import TRANSACTIONS

log = structlog.get_logger()

# Compressed bytes of input for each file that is made; uncompressed they are several times more.
BUCKET_BYTES = 32 * 1024 * 1024
# Files are read group by group: a group is the least that a task holds in memory.
GROUP_BYTES = 16 * 1024 * 1024


def stored_rows(spark: SparkSession, warehouse: Warehouse) -> DataFrame:
    """The table `transactions` as `WALLET_ROWS`."""
    rows = read(spark, warehouse, TRANSACTIONS)
    computed = {"wallet_key": STORED_WALLET_KEY, **FLAT_COLUMNS}
    # Without `usd_value`: the legs are needed for the order of rows, it is computed from them.
    return rows.select(
        *[F.expr(computed.get(name, name)).alias(name) for name in schemas.WALLET_ROWS.names]
    )


def sort_by_wallet(
    rows: DataFrame, folder: str, parallelism: int, size: int
) -> list[tuple[str, int]]:
    """Write rows into Parquet files, all of a wallet together in one of them.

    Args:
        rows: with a column `wallet_key`.
        folder: where the files are written; whatever is there is replaced.
        parallelism: how many tasks run at once.
        size: bytes of the input, compressed.

    Returns:
        URIs and sizes of the files, in an order that is always the same.
    """
    files = _files(parallelism, size)
    log.info("backfill_sorts_by_wallet", files=files, bytes=size)
    parts = rows.repartition(files, "wallet_key").sortWithinPartitions("wallet_key")
    return _written(parts, folder)


def sort_by_message(
    spark: SparkSession, warehouse: Warehouse, folder: str, parallelism: int
) -> list[str]:
    """Write the table `transactions` into Parquet files in the order of its messages.

    Args:
        spark: sorts.
        warehouse: whose table it is.
        folder: where the files are written; whatever is there is replaced.
        parallelism: how many tasks run at once.

    Returns:
        URIs of the files.
    """
    size = warehouse.size(TRANSACTIONS)
    files = _files(parallelism, size)
    log.info("backfill_sorts_by_message", files=files, bytes=size)
    columns = {column.partition(".")[0]: None for column in COLUMNS}
    rows = read(spark, warehouse, TRANSACTIONS).select(*columns)
    parts = rows.repartitionByRange(files, *SOURCE_ID).sortWithinPartitions(*SOURCE_ID)
    return [uri for uri, _ in _written(parts, folder)]


def _files(parallelism: int, size: int) -> int:
    return parallelism * (1 + size // (BUCKET_BYTES * parallelism))


def _written(parts: DataFrame, folder: str) -> list[tuple[str, int]]:
    # Its older kind of timestamps ends in 2262.
    parts.sparkSession.conf.set("spark.sql.parquet.outputTimestampType", "TIMESTAMP_MICROS")
    parts.write.option("parquet.block.size", GROUP_BYTES).mode("overwrite").parquet(folder)
    return [found for found in find_files(as_uri(folder)) if found[0].endswith(".parquet")]
