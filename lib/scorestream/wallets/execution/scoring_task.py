"""Scoring in a task: records in, data files of the tables out, and a report of both."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Final

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from scorestream.infra.delivery.commit import commit_batch
from scorestream.infra.delta.data_files import DataFile, TableWriter
from scorestream.infra.delta.table import Table
from scorestream.infra.delta.warehouse import Warehouse
from scorestream.infra.kafka.records import FIRST_MOMENT_MS, LAST_MOMENT_MS, Records
from scorestream.infra.spark.heartbeat import report_progress
from scorestream.infra.spark.process_isolation import (
    DEFAULT_TIMEOUT,
    IsolatedProcess,
    Isolation,
    isolate_failures,
)
from scorestream.wallets.core import schemas
from scorestream.wallets.core.decode import Reject
from scorestream.wallets.core.exact_parser import wallet_in
from scorestream.wallets.core.pipeline import (
    Scored,
    reject_rows,
    score_messages,
)
from scorestream.wallets.core.scoring import Scorings
from scorestream.wallets.execution.table_rows import BatchFacts, table_rows
from scorestream.wallets.predictors.apply import ModelApplier
from scorestream.wallets.predictors.batch_models import ModelUse
from scorestream.wallets.schema.tables import BATCH_TABLES, REJECTS, SCORES, TRANSACTIONS

# Ages are counted in steps of this; it bounds the error of a latency, and the size of a report.
AGE_STEP_SECONDS: Final = 0.05
OLDEST_SECONDS: Final = 7200.0
# What crashes an isolated process is split into so many parts.
PARTS: Final = 16

_GOOD_MESSAGE: Final = (
    b'{"wallet_address": "0x0", "data": [{"protocolType": "dexes", "transactions": '
    b'[{"document_id": "0", "action": "swap", "timestamp": 0}]}]}'
)

Rows = dict[Table, pa.Table]
# What of an answer is counted.
_COUNTED: Final = ["scoring", "transaction_count", "source_timestamp"]


class ScoringReport(msgspec.Struct):
    """What a task has scored.

    Attributes:
        files: data files written, not yet committed.
        messages: messages scored or rejected.
        scores: scores of messages, of each scoring one.
        transactions: transactions of the messages that count.
        rejects: rejects of messages, by error code.
        ages: messages by their age when the batch started, in steps of `AGE_STEP_SECONDS`.
        late: transactions that an earlier message of their wallet should have counted.
        corrected: transactions that came again with another content.
        models: calls of registered models.
    """

    files: list[DataFile] = []
    messages: int = 0
    scores: int = 0
    transactions: int = 0
    rejects: dict[str, int] = {}
    ages: dict[int, int] = {}
    late: int = 0
    corrected: int = 0
    models: list[ModelUse] = []


def score_records(
    batches: Iterable[Records],
    scorings: Scorings,
    *,
    include_transactions: bool,
    isolation: Isolation = Isolation.NEVER,
    timeout: float = DEFAULT_TIMEOUT,
) -> Iterator[tuple[Scored, Records]]:
    """Score records, each batch small enough to be held in memory several times over.

    Where scoring is isolated, messages that crash it are found and rejected.

    Args:
        batches: the records.
        scorings: what scores them.
        include_transactions: whether the exploded transactions are given too.
        isolation: when scoring runs in an isolated process.
        timeout: seconds that it may take there.
    """
    if isolation.is_due:
        yield from score_isolated(
            batches, scorings, timeout, include_transactions=include_transactions
        )
        return
    for records in batches:
        work = _work(records, scorings, include_transactions=include_transactions)
        yield work(), records


def _work(
    records: Records, scorings: Scorings, *, include_transactions: bool
) -> Callable[[], Scored]:
    return partial(
        score_messages,
        records.values,
        records.as_of,
        scorings,
        include_transactions=include_transactions,
        refused=timestamp_rejects(records),
    )


def score_isolated(
    batches: Iterable[Records],
    scorings: Scorings,
    timeout: float,
    *,
    include_transactions: bool,
) -> Iterator[tuple[Scored, Records]]:
    """Score records in an isolated process, and reject the messages that crash it."""
    work = partial(_work, scorings=scorings, include_transactions=include_transactions)
    give_up = partial(_all_rejected, scorings=scorings, include_transactions=include_transactions)
    with scoring_process(scorings, timeout) as process:
        for batch in batches:
            done = isolate_failures(
                process, work, batch, lambda records: records.parts(PARTS), give_up=give_up
            )
            yield from ((scored, records) for records, scored in done)


def scoring_process(scorings: Scorings, timeout: float) -> IsolatedProcess:
    """An isolated process in which wallets can be scored."""
    trial = partial(score_messages, [_GOOD_MESSAGE], np.zeros(1, dtype=np.int64), scorings)
    return IsolatedProcess(timeout, trial)


def timestamp_rejects(records: Records) -> list[Reject]:
    """Rejects of records whose timestamp is no moment that a message could be about."""
    return [
        Reject(at, "invalid_timestamp", _no_moment(records.timestamps[at]), _wallet(records, at), 0)
        for at in np.flatnonzero(~records.has_moment).tolist()
    ]


def _no_moment(timestamp: int) -> str:
    return (
        f"record timestamp: must be unix milliseconds from {FIRST_MOMENT_MS} to {LAST_MOMENT_MS}, "
        f"is {timestamp}"
    )


def unscorable_reject(position: int, wallet: str | None, why: str, transactions: int = 0) -> Reject:
    """The reject of a message that crashed its isolated process."""
    return Reject(position, "unscorable", f"scoring it failed: {why}", wallet, transactions)


def unscorable_rejects(records: Records, why: str) -> list[Reject]:
    """Rejects of records that crashed their isolated process."""
    return [unscorable_reject(at, _wallet(records, at), why) for at in range(len(records))]


def _wallet(records: Records, position: int) -> str | None:
    return wallet_in(records.values[position] or b"")


def _all_rejected(
    records: Records, why: str, *, scorings: Scorings, include_transactions: bool
) -> Scored:
    return Scored.without_scores(
        scorings,
        reject_rows(unscorable_rejects(records, why), records.as_of),
        schemas.HISTORY.empty_table() if include_transactions else None,
    )


def write_scored(
    batches: Iterable[tuple[Scored, Records]],
    root: str,
    facts: BatchFacts,
    *,
    include_transactions: bool,
    keep: Callable[[Rows], Rows] | None = None,
    isolation: Isolation = Isolation.ON_RETRY,
) -> ScoringReport:
    """Write the rows of scored batches into one new file a table, as the batches come.

    The registered models of the batch are applied to them on the way.

    Args:
        batches: what the core made of records, and the records.
        root: the warehouse.
        facts: what all rows share.
        include_transactions: whether the exploded transactions are written too.
        keep: picks the rows that are written; None: all are.
        isolation: when the models run in an isolated process.
    """
    tables = BATCH_TABLES if include_transactions else (SCORES, REJECTS)
    writers = {table: TableWriter(root, table) for table in tables}
    counts = _Counts(facts.started_at)
    with ModelApplier(facts.models, is_isolated=isolation.is_due) as applier:
        for scored, records in batches:
            rows = table_rows(applier.apply(scored), records, facts)
            rows = rows if keep is None else keep(rows)
            for table, writer in writers.items():
                writer.write(rows[table])
            counts.add(rows, scored.scorings)
            report_progress()
    files = [file for writer in writers.values() if (file := writer.close()) is not None]
    return msgspec.structs.replace(counts.report(files), models=applier.uses)


def commit_files(
    warehouse: Warehouse,
    files: Sequence[DataFile],
    transaction: tuple[str, int] | None,
) -> None:
    """Commit the files of a batch: transactions, then rejects, then scores.

    Args:
        warehouse: whose tasks wrote the files.
        files: all files of the batch.
        transaction: (run id, batch id), which each table takes only once; None to take it always.
    """
    commit_batch(warehouse, BATCH_TABLES, files, transaction)


class _Counts:
    def __init__(self, started_at: float) -> None:
        self._started_at = started_at
        self._messages = self._scores = self._transactions = 0
        self._rejects: Counter[str] = Counter()
        self._ages: Counter[int] = Counter()

    def add(self, rows: Rows, scorings: Scorings) -> None:
        scores, rejects = rows[SCORES], rows[REJECTS]
        self._scores += len(scores)
        self._rejects.update(rejects["error_code"].to_pylist())
        # Each message has one answer of the first scoring.
        first = scorings[0].name
        scored, rejected = (
            counted.filter(pc.equal(pc.fill_null(counted["scoring"], first), first))
            for counted in (table.select(_COUNTED) for table in (scores, rejects))
        )
        exploded = rows.get(TRANSACTIONS)
        self._transactions += (
            pc.sum(scored["transaction_count"]).as_py() or 0 if exploded is None else len(exploded)
        )
        self._messages += len(scored) + len(rejected)
        for table in (scored, rejected):
            moments = np.asarray(table["source_timestamp"].cast(pa.int64())) / 1e6
            ages = np.minimum(self._started_at - moments, OLDEST_SECONDS)
            steps = np.floor(ages / AGE_STEP_SECONDS).astype(np.int64)
            found, counted = np.unique(steps, return_counts=True)
            self._ages.update(dict(zip(found.tolist(), counted.tolist(), strict=True)))

    def report(self, files: list[DataFile]) -> ScoringReport:
        return ScoringReport(
            files,
            self._messages,
            self._scores,
            self._transactions,
            dict(self._rejects),
            dict(self._ages),
        )
