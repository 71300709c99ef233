"""The command `refresh_thresholds`: percentiles of wallets' features at a moment, by protocol."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from scorestream.infra.config.settings import Settings
from scorestream.infra.delta.spark_reader import read
from scorestream.infra.delta.warehouse import Warehouse
from scorestream.infra.errors import InputError
from scorestream.infra.spark.percentiles import MAX_EXACT
from scorestream.infra.spark.session import build_session
from scorestream.wallets.core.messages import iso_time
from scorestream.wallets.reference.population import (
    feature_percentiles,
    largest_sample,
    rows_in_effect,
    wallet_features,
)
from scorestream.wallets.reference.reference_data import ALL_PROTOCOLS, Threshold
from scorestream.wallets.reference.snapshots import keep_thresholds, stored_thresholds
from scorestream.wallets.reference.threshold_export import check_target, export_thresholds
from scorestream.wallets.schema.tables import TRANSACTIONS
from scorestream.wallets.schema.views import CATALOG

# Compressed bytes of the table for each partition; uncompressed they are several times more.
PARTITION_BYTES: Final = 32 * 1024 * 1024
SHOWN: Final = 25
SHOWN_PERCENTILES: Final = ("p10", "p50", "p90", "p99")


@dataclass(frozen=True)
class RefreshOptions:
    """Options of a refresh, as the command line gives them.

    Attributes:
        as_of: unix seconds; later transactions do not count.
        min_wallets: a protocol and feature with a smaller sample gets no row.
        export: `mongodb`, or a file of JSON lines; None for no export.
    """

    as_of: int
    min_wallets: int = 30
    export: str | None = None


def refresh_thresholds(options: RefreshOptions, settings: Settings) -> None:
    """Compute thresholds of the history, store them as a version, and print them.

    1. Compute the percentiles.
    2. Store them in `protocol_thresholds`, in place of earlier ones of the same `as_of`.
    3. Export them, if that was asked for.

    Raises:
        InputError: the history gives no thresholds.
        ScorestreamError: the tables or the target of the export are not to be had.
    """
    check_target(options.export, settings)
    warehouse = Warehouse(settings.warehouse, CATALOG)
    warehouse.create_tables()
    spark = build_session("refresh_thresholds", settings)
    # 1. Compute the percentiles.
    thresholds = compute_thresholds(spark, warehouse, options)
    # 2. Store them in `protocol_thresholds`.
    keep_thresholds(thresholds, warehouse)
    # 3. Export them.
    if options.export is not None:
        export_thresholds(thresholds, options.export, settings)
    lines = [*_summary(thresholds, options), *_outdated(thresholds, warehouse)]
    sys.stdout.writelines(f"{line}\n" for line in lines)


def compute_thresholds(
    spark: SparkSession, warehouse: Warehouse, options: RefreshOptions
) -> list[Threshold]:
    """The thresholds of the history as of a moment: `*` first, then the larger protocols.

    Raises:
        InputError: there is nothing to compute them from.
    """
    parallelism = spark.sparkContext.defaultParallelism
    size = warehouse.size(TRANSACTIONS)
    partitions = parallelism * (1 + size // (PARTITION_BYTES * parallelism))
    transactions = read(spark, warehouse, TRANSACTIONS)
    wallets = wallet_features(rows_in_effect(transactions, options.as_of, partitions)).persist()
    try:
        return _thresholds(wallets, options)
    finally:
        wallets.unpersist()


def _thresholds(wallets: DataFrame, options: RefreshOptions) -> list[Threshold]:
    total = wallets.where(F.col("protocol") == ALL_PROTOCOLS).count()
    found = feature_percentiles(wallets, options.min_wallets, exact=total <= MAX_EXACT).collect()
    if not found:
        raise InputError(_nothing(options, largest_sample(wallets)))
    thresholds = [Threshold(**row.asDict(), as_of=options.as_of) for row in found]
    return sorted(thresholds, key=lambda t: (t.protocol != ALL_PROTOCOLS, -t.n, t.key))


def _nothing(options: RefreshOptions, largest: int) -> str:
    if largest:
        return (
            f"no thresholds: the largest sample as of {iso_time(options.as_of)} has {largest:,} "
            f"wallets, --min-wallets is {options.min_wallets:,}"
        )
    return (
        f"no thresholds: the table transactions holds no deposit and no swap up to "
        f"{iso_time(options.as_of)}; score messages first (SCORESTREAM_TRANSACTIONS=on), or give a "
        "later --as-of"
    )


def _summary(thresholds: Sequence[Threshold], options: RefreshOptions) -> list[str]:
    """What was computed, a line a threshold, and where it is."""
    lines = [_line("protocol", "feature", "wallets", *SHOWN_PERCENTILES)]
    for threshold in thresholds[:SHOWN]:
        values = [f"{getattr(threshold, name):,.6g}" for name in SHOWN_PERCENTILES]
        lines.append(_line(threshold.protocol, threshold.feature, f"{threshold.n:,}", *values))
    more = len(thresholds) - SHOWN
    if more > 0:
        lines.append(f"and {more:,} more: query latest_thresholds")
    protocols = {threshold.protocol for threshold in thresholds} - {ALL_PROTOCOLS}
    exact = max(threshold.n for threshold in thresholds) <= MAX_EXACT
    lines.append(
        f"{len(thresholds):,} thresholds of {len(protocols):,} protocols and {ALL_PROTOCOLS}, "
        f"as of {iso_time(options.as_of)}{'' if exact else ', approximate'}"
    )
    return lines


def _outdated(thresholds: Sequence[Threshold], warehouse: Warehouse) -> list[str]:
    """A line if some of the thresholds will not count."""
    newest = {version.key: version.as_of for version in stored_thresholds(warehouse)}
    outdated = sum(newest[threshold.key] > threshold.as_of for threshold in thresholds)
    if not outdated:
        return []
    return [f"{outdated:,} of them do not count: the table holds newer ones"]


def _line(protocol: str, feature: str, *numbers: str) -> str:
    return f"{protocol:20} {feature:13}" + "".join(f"{number:>13}" for number in numbers)
