"""The scores of two sides brought together by wallet, and figures of them. All in Spark."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from pyspark.ml.feature import VectorAssembler
from pyspark.ml.stat import Correlation
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from scorestream.infra.spark.percentiles import MAX_EXACT, percentiles
from scorestream.wallets.comparison.figures import (
    BARS,
    CELLS,
    CLASSES,
    PERCENTS,
    Figures,
    Side,
)
from scorestream.wallets.schema.sql_rules import WALLET_KEY
from scorestream.wallets.schema.views import newest_by_wallet


def newest_scores(spark: SparkSession, side: Side) -> DataFrame:
    """The newest score of each wallet on a side: rows of `scores` with the key as `wallet`."""
    if side.run_id is None:
        rows = spark.table("latest_scores").where(F.col("scoring") == side.scoring)
    else:
        of_run = (F.col("scoring") == side.scoring) & (F.col("run_id") == side.run_id)
        scores = spark.table("scores").where(of_run).withColumn("wallet_key", F.expr(WALLET_KEY))
        rows = spark.sql(newest_by_wallet("{scores}"), scores=scores)
    return rows.withColumnRenamed("wallet_key", "wallet")


def paired(left: DataFrame, right: DataFrame) -> DataFrame:
    """One row a wallet of either side: `wallet, left, right, change, same_moment`."""
    sides = [
        rows.select(
            "wallet", F.col("final_score").alias(name), F.col("as_of").alias(f"{name}_as_of")
        )
        for name, rows in (("left", left), ("right", right))
    ]
    same = F.col("left_as_of") == F.col("right_as_of")
    change = F.col("right") - F.col("left")
    return (
        sides[0]
        .join(sides[1], "wallet", "full")
        .select("wallet", "left", "right", change.alias("change"), same.alias("same_moment"))
    )


def figures_of(pairs: DataFrame) -> Figures:
    """The figures of `paired` rows."""
    [counts] = pairs.agg(
        F.count("change").alias("both"),
        F.count_if(F.col("right").isNull()).alias("only_left"),
        F.count_if(F.col("left").isNull()).alias("only_right"),
    ).collect()
    if not counts.both:
        return Figures(**counts.asDict())
    both = pairs.where("change IS NOT NULL").withColumn("points", F.abs("change"))
    [found] = both.agg(
        F.count_if("same_moment").alias("same_moment"),
        F.mean("change").alias("mean"),
        F.min(F.least("left", "right")).alias("lowest"),
        F.max(F.greatest("left", "right")).alias("highest"),
        percentiles("points", PERCENTS, exact=counts.both <= MAX_EXACT).alias("quantiles"),
        F.max("points").alias("largest"),
    ).collect()
    return Figures(
        **counts.asDict(),
        **found.asDict(),
        rank_correlation=_rank_correlation(both) if counts.both > 1 else None,
        moved=_moved(both),
    )


def largest_moves(pairs: DataFrame, count: int) -> list[str]:
    """The wallets whose score moved most, the largest move first."""
    moved = pairs.where("change <> 0").orderBy(F.abs("change").desc(), "wallet").limit(count)
    return [row.wallet for row in moved.select("wallet").collect()]


def details_of(scores: DataFrame, wallets: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Final score, features and breakdown of a few wallets, by wallet."""
    details = scores.select("wallet", "final_score", "features", "breakdown")
    rows = details.where(F.col("wallet").isin(*wallets))
    return {row.wallet: row.asDict(recursive=True) for row in rows.collect()}


def cells_of(pairs: DataFrame, figures: Figures) -> dict[tuple[int, int], int]:
    """Pairs counted in a grid of `CELLS` by `CELLS`, left score by right score, from the lowest."""
    bounds = figures.lowest, figures.highest
    left, right = (_bin(F.col(name), *bounds, CELLS) for name in ("left", "right"))
    rows = pairs.where("change IS NOT NULL").groupBy(left, right).count().collect()
    return {(row[0], row[1]): row[2] for row in rows}


def bars_of(pairs: DataFrame, figures: Figures) -> dict[int, int]:
    """Wallets that moved, counted in `BARS` steps of their change, from -largest to largest."""
    step = _bin(F.col("change"), -figures.largest, figures.largest, BARS)
    rows = pairs.where("change <> 0").groupBy(step).count().collect()
    return {row[0]: row[1] for row in rows}


def _bin(value: Column, lowest: float, highest: float, count: int) -> Column:
    share = (value - lowest) / ((highest - lowest) or 1.0)
    return F.least(F.floor(share * count), F.lit(count - 1)).cast("int")


def _rank_correlation(both: DataFrame) -> float | None:
    vectors = VectorAssembler(inputCols=["left", "right"], outputCol="scores").transform(both)
    [row] = Correlation.corr(vectors.select("scores"), "scores", "spearman").collect()
    found = float(row[0].toArray()[0, 1])
    return None if math.isnan(found) else found


def _moved(both: DataFrame) -> dict[tuple[str, int], int]:
    share = F.col("points") / F.abs("left")
    of_class = (
        F.when(F.col("change") == 0, CLASSES[0])
        .when(F.col("left") == 0, CLASSES[4])
        .when(share < 0.01, CLASSES[1])
        .when(share < 0.05, CLASSES[2])
        .when(share <= 0.2, CLASSES[3])
        .otherwise(CLASSES[4])
    )
    rows = both.groupBy(of_class, F.signum("change").cast("int")).count().collect()
    return {(row[0], row[1]): row[2] for row in rows}
