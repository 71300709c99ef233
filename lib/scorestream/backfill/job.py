"""`backfill_scores`: plan, score chunk by chunk, commit each chunk once."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import msgspec
from pyspark.sql import SparkSession

from scorestream.backfill.history import HistoryRange, plan_history
from scorestream.backfill.lines import LinesSplit, plan_lines
from scorestream.backfill.progress import Progress
from scorestream.configuration import load_scoring_model
from scorestream.core.pipeline import ScoringModel
from scorestream.errors import BackfillError, ConfigurationError
from scorestream.io.delta.warehouse import Warehouse
from scorestream.io.filesystem import read_text, write_text
from scorestream.locks import exclusive_lock
from scorestream.reference_data import current_reference, keep_copy
from scorestream.rows import BatchFacts
from scorestream.scoring import ScoringReport, commit_files, write_scored
from scorestream.session import build_session
from scorestream.settings import Settings
from scorestream.tables import SCORES, TRANSACTIONS
from scorestream.tasks import run_tasks
from scorestream.version import code_version

# As input, the name of the project's own table stands for its rows in the warehouse.
HISTORY: Final = TRANSACTIONS.name
Item = LinesSplit | HistoryRange


@dataclass(frozen=True)
class BackfillOptions:
    """Options of a backfill, as the command line gives them.

    Attributes:
        input: path, URI or pattern of JSON lines, or `transactions`.
        as_of: unix seconds at which every message is judged; None for each message's own.
        scoring: name of the scoring model.
        run_id: the run to go on with, or a name for a new one; None for a new name.
    """

    input: str
    as_of: int | None
    scoring: str = "dex-v1"
    run_id: str | None = None


class Plan(msgspec.Struct, frozen=True):
    """What a run does, in what order; written once, when the run begins.

    Attributes:
        chunk: items that are scored at once and committed together.
    """

    input: str
    as_of: int | None
    scoring: str
    config_hash: str
    chunk: int
    lines: list[LinesSplit]
    ranges: list[HistoryRange]

    def chunks(self) -> list[Sequence[Item]]:
        """All items, chunk by chunk."""
        items: list[Item] = [*self.lines, *self.ranges]
        return [items[i : i + self.chunk] for i in range(0, len(items), self.chunk)]


def run_backfill(options: BackfillOptions, settings: Settings) -> None:
    """Score historical wallets, and say on stdout how many.

    1. plan: what the run id stands for, or a new plan for a new one
    2. score and commit the chunks that are not committed yet, each in a transaction of the run

    Raises:
        ScorestreamError: no such input, or a run id that stands for another backfill.
    """
    run_id = options.run_id or uuid.uuid4().hex
    plan_file = f"{settings.warehouse}/_checkpoints/backfill_scores/{run_id}.json"
    with exclusive_lock(plan_file):
        warehouse = Warehouse(settings.warehouse)
        warehouse.create_tables()
        reference = current_reference(settings, warehouse)
        keep_copy(reference, warehouse)
        model = load_scoring_model(
            settings.scorestream_conf, options.scoring, reference.stable_symbols
        )
        spark = build_session("backfill_scores", settings)
        # 1.
        plan = _plan(options, plan_file, warehouse, model, spark)
        # 2.
        history = settings.keeps_history and not plan.ranges
        _Run(spark, warehouse, model, run_id, history).finish(plan)


def _plan(
    options: BackfillOptions,
    plan_file: str,
    warehouse: Warehouse,
    model: ScoringModel,
    spark: SparkSession,
) -> Plan:
    text = read_text(plan_file)
    if text is not None:
        known = msgspec.json.decode(text, type=Plan)
        _refuse_another(known, options, model)
        return known
    parallelism = spark.sparkContext.defaultParallelism
    lines: list[LinesSplit] = []
    ranges: list[HistoryRange] = []
    if options.input == HISTORY:
        if options.as_of is not None:
            raise ConfigurationError("--input transactions needs --as-of record")
        ranges = plan_history(spark, warehouse)
    else:
        lines = plan_lines(options.input, options.as_of, parallelism)
    plan = Plan(
        options.input, options.as_of, model.name, model.config_hash, parallelism, lines, ranges
    )
    write_text(plan_file, msgspec.json.encode(plan).decode())
    return plan


def _refuse_another(known: Plan, options: BackfillOptions, model: ScoringModel) -> None:
    given = {
        "--input": (known.input, options.input),
        "--as-of": (known.as_of, options.as_of),
        "--scoring": (known.scoring, options.scoring),
        "constants": (known.config_hash, model.config_hash),
    }
    other = [f"{name} was {a}, is {b}" for name, (a, b) in given.items() if a != b]
    if other:
        raise BackfillError(
            f"run {options.run_id} is another backfill ({'; '.join(other)}): give another --run-id"
        )


@dataclass(frozen=True)
class _Run:
    spark: SparkSession
    warehouse: Warehouse
    model: ScoringModel
    run_id: str
    history: bool

    def finish(self, plan: Plan) -> None:
        """Score and commit what is not committed yet."""
        chunks = plan.chunks()
        done = self.warehouse.transaction_version(SCORES, f"{self.run_id}/{SCORES.name}")
        first = 0 if done is None else done + 1
        sizes = [sum(item.size for item in chunk) for chunk in chunks]
        with Progress(sum(sizes), self.run_id) as progress:
            progress.skip(sum(sizes[:first]))
            for number in range(first, len(chunks)):
                progress.advance(sizes[number], self._score(chunks[number], number))
        print(f"{progress.scores:,} scores, {progress.rejects:,} rejects, run {self.run_id}")

    def _score(self, items: Sequence[Item], number: int) -> list[ScoringReport]:
        facts = BatchFacts.of(self.run_id, number, time.time(), self.model, code_version())
        work = partial(
            _score_item,
            root=self.warehouse.root,
            model=self.model,
            facts=facts,
            history=self.history,
        )
        reports = run_tasks(self.spark, work, items)
        files = [file for report in reports for file in report.files]
        commit_files(self.warehouse, files, (self.run_id, number))
        return reports


def _score_item(
    item: Item, root: str, model: ScoringModel, facts: BatchFacts, history: bool
) -> ScoringReport:
    """In a task: read, score and write."""
    return write_scored(item.score(model, history), root, facts, history)
