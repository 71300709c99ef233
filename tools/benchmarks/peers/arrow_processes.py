"""Two processes, confluent-kafka, our own core and delta-rs: the same scoring without Spark."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Sequence
from multiprocessing.synchronize import Barrier
from typing import Any, Final

import pyarrow as pa
from deltalake import write_deltalake

from scorestream.infra.kafka.consumer import fetch
from scorestream.infra.kafka.producer import produce
from scorestream.infra.kafka.records import Records
from scorestream.wallets.core.pipeline import score_messages
from scorestream.wallets.execution.result_messages import success_records
from scorestream.wallets.execution.table_rows import BatchFacts, table_rows
from scorestream.wallets.schema.tables import SCORES
from tools.benchmarks.peers import THREADS, StreamCase
from tools.benchmarks.peers.process import main
from tools.benchmarks.peers.results import topic_ranges
from tools.benchmarks.peers.scoring import scoring

ROWS_PER_COMMIT: Final = 4_000
START_SECONDS: Final = 60


def run(case: StreamCase) -> float:
    """Seconds from connecting until all scores are acknowledged and committed."""
    context = multiprocessing.get_context("spawn")
    ready = context.Barrier(THREADS + 1)
    with context.Pool(THREADS, _prepare, (ready,)) as pool:
        ready.wait(START_SECONDS)
        began = time.perf_counter()
        work = [(case, range(n, case.partitions, THREADS)) for n in range(THREADS)]
        done = sum(pool.starmap(_score, work, chunksize=1))
        seconds = time.perf_counter() - began
    if done != case.count:
        raise ValueError(f"{done} of {case.count} messages were scored")
    return seconds


def _prepare(ready: Barrier) -> None:
    scoring()
    ready.wait(START_SECONDS)


def _score(case: StreamCase, partitions: Sequence[int]) -> int:
    """Score some partitions into a Delta table of their own and the success topic."""
    options = {"bootstrap.servers": case.bootstrap_servers, "group.id": "arrow"}
    ranges = [r for r in topic_ranges(case.topic, options) if r.partition in partitions]
    pending: list[pa.Table] = []
    done = 0
    for records in fetch(ranges, options):
        pending.append(_rows(records))
        done += len(records)
        if sum(map(len, pending)) >= ROWS_PER_COMMIT:
            _write(case, partitions[0], pending)
            pending = []
    if pending:
        _write(case, partitions[0], pending)
    return done


def _rows(records: Records) -> pa.Table:
    facts = BatchFacts("arrow", 0, time.time(), code_version="peer")
    scored = score_messages(records.values, records.as_of, (scoring(),), include_transactions=False)
    return table_rows(scored, records, facts)[SCORES]


def _write(case: StreamCase, number: int, pending: list[pa.Table]) -> None:
    rows = pa.concat_tables(pending)
    write_deltalake(case.folder / f"scores-{number}", rows, mode="append")
    options: dict[str, Any] = {"bootstrap.servers": case.bootstrap_servers}
    produce(case.success_topic, success_records(rows), options)


if __name__ == "__main__":
    main(run, StreamCase)
