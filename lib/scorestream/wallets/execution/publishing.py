"""Publishes results from the tables' data files to Kafka."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any, Final

from pyspark.sql import SparkSession

from scorestream.infra.config.settings import Settings
from scorestream.infra.delta.data_files import Condition, DataFile, read_file
from scorestream.infra.delta.table import Table
from scorestream.infra.delta.warehouse import Warehouse
from scorestream.infra.errors import TooLargeError
from scorestream.infra.kafka.connection import producer_options
from scorestream.infra.kafka.producer import Record, produce
from scorestream.infra.spark.heartbeat import report_progress
from scorestream.infra.spark.tasks import run_tasks
from scorestream.wallets.execution.result_messages import failure_records, success_records
from scorestream.wallets.schema.tables import REJECTS, SCORES

# What is published, in this order.
PUBLISHED: Final = (SCORES, REJECTS)
MAX_FILES_PER_TASK: Final = 4
# A pause shorter than this is not worth it.
MIN_PAUSE_SECONDS: Final = 0.01
# A longer one is made in parts, after each of which the task says that it gets on.
MAX_PAUSE_SECONDS: Final = 1.0


def written_files(warehouse: Warehouse, files: Sequence[DataFile]) -> list[tuple[Table, str]]:
    """Table and URI of those of the files whose rows are published."""
    return [(t, warehouse.uri(file)) for t in PUBLISHED for file in files if file.table == t.name]


def stored_files(warehouse: Warehouse, condition: Condition) -> list[tuple[Table, str]]:
    """Table and URI of the stored files that may hold published rows of a condition."""
    return [(table, uri) for table in PUBLISHED for uri in warehouse.files(table, condition)]


def publish(
    spark: SparkSession,
    settings: Settings,
    files: Sequence[tuple[Table, str]],
    *,
    conditions: Sequence[Condition] = (),
    rate: float | None = None,
) -> None:
    """Publish rows, those of `scores` and `rejects` each to their topic; at least once.

    Args:
        spark: the session.
        settings: where to.
        files: table and URI of each data file.
        conditions: what rows must meet.
        rate: most records a second, of all tasks together.

    Raises:
        TooLargeError: records are larger than their topic takes; all others were sent.
    """
    cores = spark.sparkContext.defaultParallelism
    # Those that keep to a rate have to run all at once.
    tasks = min(len(files), cores if rate else max(cores, -(-len(files) // MAX_FILES_PER_TASK)))
    work = partial(
        _publish,
        topics={
            SCORES.name: settings.kafka_success_topic,
            REJECTS.name: settings.kafka_failure_topic,
        },
        conditions=conditions,
        options=producer_options(settings),
        rate=rate / tasks if rate and tasks else None,
    )
    answers = run_tasks(spark, work, [files[i::tasks] for i in range(tasks)])
    refused = [text for answer in answers for text in answer]
    if refused:
        more = f" (and as much for {len(refused) - 1} more files)" if len(refused) > 1 else ""
        raise TooLargeError(refused[0] + more)


def _publish(
    files: Sequence[tuple[Table, str]],
    topics: dict[str, str],
    conditions: Sequence[Condition],
    options: dict[str, Any],
    rate: float | None,
) -> list[str]:
    """In a task; returns what there is to say of files with records that are too large."""
    refused = []
    for table, uri in files:
        rows = read_file(uri, table.columns, *conditions)
        records = success_records(rows) if table.name == SCORES.name else failure_records(rows)
        try:
            produce(topics[table.name], _paced(records, rate), options)
        except TooLargeError as error:
            refused.append(str(error))
    return refused


def _paced(records: Iterable[Record], rate: float | None) -> Iterator[Record]:
    started = time.monotonic()
    for count, record in enumerate(records):
        report_progress()
        while rate and (ahead := started + count / rate - time.monotonic()) > MIN_PAUSE_SECONDS:
            time.sleep(min(ahead, MAX_PAUSE_SECONDS))
            report_progress()
        yield record
