"""Rows of any order, brought together by wallet: files that hold all rows of their wallets."""

from __future__ import annotations

import structlog
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from scorestream.core import schemas
from scorestream.io.delta.sql import read
from scorestream.io.delta.warehouse import Warehouse
from scorestream.io.filesystem import find_files
from scorestream.tables import LEGS_OF_ROWS, TRANSACTIONS, WALLET_KEY

log = structlog.get_logger()

# Compressed bytes of input for each file that is made; uncompressed they are several times more.
BUCKET_BYTES = 32 * 1024 * 1024
# Files are read group by group: a group is the least that a task holds in memory.
GROUP_BYTES = 16 * 1024 * 1024


def stored_rows(spark: SparkSession, warehouse: Warehouse) -> DataFrame:
    """The table `transactions` as `WALLET_ROWS`."""
    rows = read(spark, warehouse, TRANSACTIONS)
    columns = {name: F.col(name) for name in schemas.WALLET_ROWS.names if name in rows.columns}
    # Rows are older than the column in tables of an earlier version.
    columns["wallet_key"] = F.coalesce(F.col("wallet_key"), F.expr(WALLET_KEY))
    for leg, (of_swap, of_pool) in LEGS_OF_ROWS.items():
        # A leg that the action does not use is null.
        usd, symbol = (
            F.coalesce(f"{of_swap}.{part}", f"{of_pool}.{part}")
            for part in ("amount_usd", "symbol")
        )
        unused = F.col(of_swap).isNull() & F.col(of_pool).isNull()
        columns[f"{leg}_usd"] = F.coalesce(usd, F.lit(0.0))
        columns[f"{leg}_symbol"] = F.when(unused, "").otherwise(symbol)
    return rows.select(*[columns[name].alias(name) for name in schemas.WALLET_ROWS.names])


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
    files = parallelism * (1 + size // (BUCKET_BYTES * parallelism))
    log.info("backfill_sorts_by_wallet", files=files, bytes=size)
    (
        rows.repartition(files, "wallet_key")
        .sortWithinPartitions("wallet_key")
        .write.option("parquet.block.size", GROUP_BYTES)
        .mode("overwrite")
        .parquet(folder)
    )
    uri = folder if "://" in folder else f"file://{folder}"
    return [found for found in find_files(uri) if found[0].endswith(".parquet")]
