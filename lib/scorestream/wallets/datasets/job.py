"""`wallet_examples`: the stored history as a table that wallet models learn from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import structlog
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from scorestream.infra.config.settings import Settings
from scorestream.infra.delta.data_files import DataFile, TableWriter
from scorestream.infra.delta.spark_reader import read
from scorestream.infra.delta.table import Identifiers, Table
from scorestream.infra.delta.warehouse import Warehouse
from scorestream.infra.errors import ConfigurationError, InputError
from scorestream.infra.spark.session import build_session
from scorestream.infra.spark.tasks import input_errors, run_tasks
from scorestream.infra.storage.filesystem import as_uri, exists, remove_folder
from scorestream.infra.storage.locks import exclusive_lock
from scorestream.wallets.backfill.sorting import sort_by_wallet, stored_rows
from scorestream.wallets.core.history import wallet_history
from scorestream.wallets.core.messages import iso_time
from scorestream.wallets.core.scoring import Scoring
from scorestream.wallets.datasets.cutoffs import (
    BEHAVIOUR,
    EXAMPLES,
    Cutoffs,
    build_examples,
)
from scorestream.wallets.execution.configured_scoring import DEFAULT_SCORING, build_scoring
from scorestream.wallets.execution.transaction_tables import read_table
from scorestream.wallets.execution.wallet_rows import whole_wallets
from scorestream.wallets.predictors.apply import MODEL_SCHEMA, model_schema
from scorestream.wallets.reference.snapshots import current_reference
from scorestream.wallets.schema.sql_rules import WALLET_KEY
from scorestream.wallets.schema.tables import TRANSACTIONS, WALLET_COLUMNS
from scorestream.wallets.schema.views import CATALOG

log = structlog.get_logger()


@dataclass(frozen=True)
class ExamplesOptions:
    """Options of a run, as the command line gives them.

    Attributes:
        moments: unix seconds at which wallets are looked at, ascending.
        horizon: seconds that labels look ahead; None: no labels.
        output: the table in the warehouse, replaced if it is there.
        truth: CSV of `wallet_address` and `behaviour`, where that is known.
        scoring: name of the scoring.
    """

    moments: tuple[int, ...]
    horizon: int | None = None
    output: str = "training/wallets"
    truth: str | None = None
    scoring: str = DEFAULT_SCORING


def make_examples(options: ExamplesOptions, settings: Settings) -> None:
    """Make the table, and say on stdout what is in it.

    1. Sort the transactions by wallet.
    2. Score each wallet at the cutoffs, before and after them, and write the examples.
    3. Commit them in place of what the table held.

    Raises:
        ConfigurationError: labels of one cutoff would overlap features of the next.
        InputError: the history is not known as far as the labels look, or gives no example.
        DeltaError: the tables cannot be read or written.
    """
    _refuse_overlap(options)
    warehouse = Warehouse(settings.warehouse, CATALOG)
    comment = "wallets at cutoffs, and what became of them"
    table = Table(options.output, EXAMPLES, comment, Identifiers(owner=WALLET_COLUMNS))
    folder = f"{settings.warehouse}/_checkpoints/wallet_examples/{options.output}.wallets"
    with exclusive_lock(folder, "wait for it"):
        warehouse.create_tables()
        reference = current_reference(settings, warehouse)
        scoring = build_scoring(
            settings.scorestream_conf, options.scoring, reference.stable_symbols
        )
        _refuse_other_columns(scoring)
        spark = build_session("wallet_examples", settings)
        _refuse_unknown(spark, warehouse, options)
        # 1. Sort the transactions by wallet.
        rows = _with_truth(stored_rows(spark, warehouse), options.truth)
        parallelism = spark.sparkContext.defaultParallelism
        with input_errors():
            files = sort_by_wallet(rows, folder, parallelism, warehouse.size(TRANSACTIONS))
        # 2. Score each wallet at the cutoffs, and write the examples.
        warehouse.create_table(table)
        cutoffs = Cutoffs(options.moments, options.horizon)
        work = partial(_write, root=warehouse.root, table=table, cutoffs=cutoffs, scoring=scoring)
        written = run_tasks(spark, work, [uri for uri, _ in files])
        # 3. Commit them in place of what the table held.
        _commit(warehouse, table, [file for file in written if file is not None], options)
        remove_folder(folder)


def _write(
    uri: str, *, root: str, table: Table, cutoffs: Cutoffs, scoring: Scoring
) -> DataFile | None:
    """In a task: the examples of the wallets in a file."""
    writer = TableWriter(root, table)
    for rows in whole_wallets(uri, len(cutoffs.scored)):
        writer.write(build_examples(wallet_history(rows), cutoffs, scoring))
    return writer.close()


def _commit(
    warehouse: Warehouse, table: Table, files: Sequence[DataFile], options: ExamplesOptions
) -> None:
    count = sum(file.records for file in files)
    if not count:
        raise InputError(
            "no example: the table transactions holds nothing up to "
            f"{iso_time(options.moments[-1])}; score messages first (SCORESTREAM_TRANSACTIONS=on), "
            "or give a later --as-of-range"
        )
    present = [uri.rpartition("/")[2] for uri in warehouse.files(table)]
    warehouse.replace(table, present, files, "wallet_examples")
    labels = (
        f"with labels of {options.horizon / 86_400:g} days" if options.horizon else "unlabelled"
    )
    cutoffs = "1 cutoff" if len(options.moments) == 1 else f"{len(options.moments)} cutoffs"
    print(f"{count:,} examples at {cutoffs}, {labels}: {warehouse.path(table)}")


def _refuse_other_columns(scoring: Scoring) -> None:
    """Labels and use cases of wallets speak of the features of `dex-v1`."""
    if model_schema(scoring.declarations) != MODEL_SCHEMA:
        raise ConfigurationError(f"--scoring {scoring.name}: has other features than dex-v1")


def _refuse_overlap(options: ExamplesOptions) -> None:
    """A label may look no further than the next cutoff: else a split by time would leak."""
    gaps = [b - a for a, b in zip(options.moments, options.moments[1:], strict=False)]
    if options.horizon is not None and gaps and min(gaps) < options.horizon:
        raise ConfigurationError(
            f"--every {min(gaps):,} s is less than --horizon {options.horizon:,} s: the labels of "
            "a cutoff would tell what the features of the next one are made of: give a longer "
            "--every"
        )


def _refuse_unknown(spark: SparkSession, warehouse: Warehouse, options: ExamplesOptions) -> None:
    """Refuse labels beyond the last message of all; tell how many wallets' own was before."""
    if options.horizon is None:
        return
    last = options.moments[-1] + options.horizon
    wallets = read(spark, warehouse, TRANSACTIONS).groupBy(F.expr(WALLET_KEY))
    early = F.avg((F.col("seen") < last).cast("double"))
    [(seen, share)] = wallets.agg(F.max("as_of").alias("seen")).agg(F.max("seen"), early).collect()
    if seen is not None and last > seen:
        raise InputError(
            f"the history is known until {iso_time(seen)}, and the labels of the last cutoff look "
            f"at {iso_time(last)}: end --as-of-range at {iso_time(seen - options.horizon)} or "
            "before"
        )
    _tell_unseen(share or 0.0, last)


def _tell_unseen(share: float, last: int) -> None:
    if share:
        log.warning("wallets_last_seen_early", share=round(share, 4), until=iso_time(last))
        print(
            f"{share:.1%} of the wallets have no message since {iso_time(last)}: labels take them "
            "for inactive from their last message on"
        )


def _with_truth(rows: DataFrame, path: str | None) -> DataFrame:
    """Rows with the behaviour of their wallet, null where nobody knows it."""
    if path is None:
        return rows
    if not exists(as_uri(path)):
        raise InputError(f"--truth {path}: no such file")
    truth = read_table(rows.sparkSession, as_uri(path), "csv")
    lacking = {"wallet_address", BEHAVIOUR} - set(truth.columns)
    if lacking:
        raise InputError(f"--truth {path}: no column {', '.join(sorted(lacking))}")
    known = truth.select(F.expr(WALLET_KEY).alias("wallet_key"), BEHAVIOUR)
    return rows.join(known.dropDuplicates(["wallet_key"]), "wallet_key", "left")
