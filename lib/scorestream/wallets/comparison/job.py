"""`compare_scores`: two scoring models, or two runs, wallet by wallet."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Final

from pyspark.sql import DataFrame, SparkSession

from scorestream.infra.config.settings import Settings
from scorestream.infra.delta.spark_reader import register
from scorestream.infra.delta.warehouse import Warehouse
from scorestream.infra.errors import ConfigurationError, InputError
from scorestream.infra.spark.session import build_session
from scorestream.infra.storage.filesystem import as_uri, write_text
from scorestream.wallets.comparison.figures import Figures, Side
from scorestream.wallets.comparison.pairs import (
    bars_of,
    cells_of,
    details_of,
    figures_of,
    largest_moves,
    newest_scores,
    paired,
)
from scorestream.wallets.comparison.picture import as_svg
from scorestream.wallets.comparison.reasons import Move, explained
from scorestream.wallets.comparison.report import as_markdown
from scorestream.wallets.schema.views import CATALOG

REPORT: Final = "comparison.md"
PICTURE: Final = "comparison.svg"
NAMES_SHOWN: Final = 20


@dataclass(frozen=True)
class CompareOptions:
    """Options of a comparison, as the command line gives them.

    Attributes:
        top: so many of the largest moves are explained.
        out: folder for the report and the picture; None to print the report.
    """

    left: Side
    right: Side
    top: int = 10
    out: str | None = None


def compare_scores(options: CompareOptions, settings: Settings) -> None:
    """Compare the newest score of each wallet on two sides, and print or write the report.

    1. Pair the scores by wallet.
    2. Compute the figures in Spark.
    3. Explain the largest moves.
    4. Print the report, or write it with a picture.

    Raises:
        ConfigurationError: both sides are the same.
        InputError: a side has no score, or the folder cannot be written.
    """
    if options.left == options.right:
        raise ConfigurationError(f"--left and --right are both {options.left}: nothing to compare")
    warehouse = Warehouse(settings.warehouse, CATALOG)
    warehouse.create_tables()
    spark = build_session("compare_scores", settings)
    register(spark, warehouse)
    # 1. Pair the scores by wallet.
    left, right = newest_scores(spark, options.left), newest_scores(spark, options.right)
    pairs = paired(left, right).persist()
    try:
        # 2. Compute the figures in Spark.
        figures = figures_of(pairs)
        _refuse_empty(spark, options, figures)
        # 3. Explain the largest moves.
        moves = _largest(pairs, left, right, options.top)
        # 4. Print the report, or write it with a picture.
        if options.out is None:
            sys.stdout.write(as_markdown(options.left, options.right, figures, moves))
        else:
            _write(options, options.out, pairs=pairs, figures=figures, moves=moves)
    finally:
        pairs.unpersist()


def _largest(pairs: DataFrame, left: DataFrame, right: DataFrame, count: int) -> list[Move]:
    wallets = largest_moves(pairs, count)
    if not wallets:
        return []
    lefts, rights = details_of(left, wallets), details_of(right, wallets)
    return [explained(wallet, lefts[wallet], rights[wallet]) for wallet in wallets]


def _write(
    options: CompareOptions, out: str, *, pairs: DataFrame, figures: Figures, moves: list[Move]
) -> None:
    names = str(options.left), str(options.right)
    cells, bars = cells_of(pairs, figures), bars_of(pairs, figures)
    report = as_markdown(options.left, options.right, figures, moves, picture=PICTURE)
    folder = as_uri(out.rstrip("/"))
    try:
        write_text(f"{folder}/{PICTURE}", as_svg(*names, figures, cells=cells, bars=bars))
        write_text(f"{folder}/{REPORT}", report)
    except OSError as error:
        raise InputError(f"--out {out}: cannot be written: {error}") from None
    print(f"{figures.both:,} wallets compared: {out}/{REPORT}, {out}/{PICTURE}")


def _refuse_empty(spark: SparkSession, options: CompareOptions, figures: Figures) -> None:
    for side, count in (
        (options.left, figures.both + figures.only_left),
        (options.right, figures.both + figures.only_right),
    ):
        if not count:
            raise InputError(f"no score of {side}; the table scores holds {_held(spark, side)}")


def _held(spark: SparkSession, side: Side) -> str:
    """What there is instead: the scoring models, or the runs of the one that was named."""
    scores = spark.table("scores")
    runs = scores.where(scores.scoring == side.scoring).select("run_id").distinct()
    names = [row[0] for row in runs.orderBy("run_id").limit(NAMES_SHOWN).collect()]
    if side.run_id is not None and names:
        return f"runs {', '.join(names)} of {side.scoring}"
    models = scores.select("scoring").distinct().orderBy("scoring").limit(NAMES_SHOWN).collect()
    return ", ".join(row[0] for row in models) or "no score at all"
