"""Transactions -> features of wallets, protocol by protocol -> percentiles over the wallets.

A wallet is in the sample of a feature if it has what the feature is of: a deposit for those of
deposits, a swap for those of swaps. What has no price counts as 0 USD.

- `deposit_usd`, `num_deposits`: sum of the USD value of the deposits, and their number.
- `volume`: sum over the swaps of the smaller priced leg (priced: above 0 USD).
- `num_swaps`, `active_days`: number of the swaps, and of the days (UTC) with one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from scorestream.infra.spark.percentiles import percentiles
from scorestream.wallets.core import schemas
from scorestream.wallets.core.rules import FLAT_LEGS, row_order
from scorestream.wallets.reference.reference_data import ALL_PROTOCOLS
from scorestream.wallets.schema.columns import PERCENTILES
from scorestream.wallets.schema.sql_rules import FLAT_COLUMNS, STORED_WALLET_KEY, row_number

OF_DEPOSITS: Final = ("deposit_usd", "num_deposits")
OF_SWAPS: Final = ("volume", "num_swaps", "active_days")
FEATURES: Final = (*OF_DEPOSITS, *OF_SWAPS)
DAY_SECONDS: Final = 86_400
# Columns that the features are computed from.
_COLUMNS: Final = (
    *("wallet_key", "protocol", "action", "timestamp", "usd_value"),
    *("leg0_usd", "leg1_usd"),
)


def rows_in_effect(transactions: DataFrame, as_of: int, partitions: int) -> DataFrame:
    """The rows in effect at a moment: of each document the last known, if it had happened by then.

    Args:
        transactions: rows of the table.
        as_of: unix seconds.
        partitions: how many the rows are dealt out to, by wallet; nothing after needs a shuffle.

    Returns:
        `wallet_key, protocol, action, timestamp, usd_value, leg0_usd, leg1_usd`; each document of
        a wallet once, the row in effect (`core.rules`).
    """
    names = dict.fromkeys((*_COLUMNS, "document_id", *schemas.WALLET_ROWS.names))
    computed = {
        "wallet_key": STORED_WALLET_KEY,
        "protocol": "coalesce(protocol, '')",
        **FLAT_COLUMNS,
    }
    rows = transactions.select(*[F.expr(computed.get(name, name)).alias(name) for name in names])
    number = F.expr(row_number("wallet_key, document_id", row_order(names)))
    return (
        rows.repartition(partitions, "wallet_key")
        .withColumn("number", number)
        .where((F.col("number") == 1) & (F.col("timestamp") <= as_of))
        .select(*_COLUMNS)
    )


def wallet_features(rows: DataFrame) -> DataFrame:
    """Features of each wallet with each protocol, and with all of them (protocol `*`).

    Args:
        rows: as `rows_in_effect` gives them.

    Returns:
        `protocol, wallet_key` and `FEATURES`, null where the wallet has nothing of the kind. Rows
        that name no protocol count for `*` only.
    """
    every = F.lit(ALL_PROTOCOLS)
    is_unnamed = F.col("protocol").isin("", ALL_PROTOCOLS)
    counted_for = F.when(is_unnamed, F.array(every)).otherwise(F.array("protocol", every))
    wallets = (
        _days(rows)
        .withColumn("protocol", F.explode(counted_for))
        .groupBy("protocol", "wallet_key")
        .agg(
            _sum(F.col("deposit_usd")).alias("deposit_usd"),
            F.sum("num_deposits").alias("num_deposits"),
            _sum(F.col("volume")).alias("volume"),
            F.sum("num_swaps").alias("num_swaps"),
            F.count_distinct(F.when(F.col("num_swaps") > 0, F.col("day"))).alias("active_days"),
        )
    )
    return wallets.select(
        "protocol",
        "wallet_key",
        *[F.when(F.col("num_deposits") > 0, F.col(name)).alias(name) for name in OF_DEPOSITS],
        *[F.when(F.col("num_swaps") > 0, F.col(name)).alias(name) for name in OF_SWAPS],
    )


def feature_percentiles(wallets: DataFrame, least: int, *, exact: bool) -> DataFrame:
    """Percentiles of each feature over the wallets of each protocol.

    Args:
        wallets: as `wallet_features` gives them.
        least: a smaller sample gives no row.
        exact: as in `percentiles`.

    Returns:
        `protocol, feature, p1 ... p99, n`.
    """
    found = percentiles("value", PERCENTILES, exact=exact)
    samples = _samples(wallets).groupBy("protocol", "feature")
    return (
        samples.agg(found.alias("found"), F.count("*").alias("n"))
        .where(F.col("n") >= least)
        .select("protocol", "feature", *_non_decreasing(), "n")
    )


def largest_sample(wallets: DataFrame) -> int:
    """The number of wallets in the largest sample of a feature."""
    largest = _samples(wallets).groupBy("protocol", "feature").count().agg(F.max("count"))
    return int(largest.collect()[0][0] or 0)


def _days(rows: DataFrame) -> DataFrame:
    """Sums and counts by wallet, protocol and day."""
    is_deposit, is_swap = F.col("action") == "deposit", F.col("action") == "swap"
    legs = [F.col(f"{leg}_usd") for leg in FLAT_LEGS]
    priced = F.least(*[F.when(leg > 0, leg) for leg in legs])
    return rows.groupBy(
        "wallet_key", "protocol", F.floor(F.col("timestamp") / DAY_SECONDS).alias("day")
    ).agg(
        _sum(F.when(is_deposit, F.col("usd_value"))).alias("deposit_usd"),
        F.count_if(is_deposit).alias("num_deposits"),
        _sum(F.when(is_swap, priced)).alias("volume"),
        F.count_if(is_swap).alias("num_swaps"),
    )


def _sum(amounts: Column) -> Column:
    """A sum in ascending order: Spark's own adds in the order of the rows, which may be any."""
    return F.aggregate(F.array_sort(F.collect_list(amounts)), F.lit(0.0), lambda a, b: a + b)


def _samples(wallets: DataFrame) -> DataFrame:
    """One row (`protocol, feature, value`) a value; sums beyond the float limit are left out."""
    features = [F.col(name).cast("double").alias(name) for name in FEATURES]
    rows = wallets.select("protocol", *features).unpivot(
        "protocol", [*FEATURES], "feature", "value"
    )
    return rows.where(F.col("value") < float("inf"))


def _non_decreasing() -> Sequence[Column]:
    """The columns of percentiles: interpolating rounds, and may fall by the last digit."""
    return [
        F.array_max(F.slice("found", 1, i)).alias(f"p{percent}")
        for i, percent in enumerate(PERCENTILES, start=1)
    ]
