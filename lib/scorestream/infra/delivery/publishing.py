"""Publishes rows of data files to Kafka."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from scorestream.infra.config.settings import Settings
from scorestream.infra.delivery.stream import Publication
from scorestream.infra.delta.data_files import Condition, DataFile, read_file
from scorestream.infra.delta.warehouse import Warehouse
from scorestream.infra.errors import TooLargeError
from scorestream.infra.kafka.connection import producer_options
from scorestream.infra.kafka.producer import Record, produce
from scorestream.infra.spark.heartbeat import report_progress
from scorestream.infra.spark.tasks import run_tasks

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

MAX_FILES_PER_TASK: Final = 4
# A pause shorter than this is not worth it.
MIN_PAUSE_SECONDS: Final = 0.01
# A longer one is made in parts, after each of which the task says that it gets on.
MAX_PAUSE_SECONDS: Final = 1.0

# The URI of a data file, and where its rows go.
PublishedFile = tuple[Publication, str]


def written_files(
    warehouse: Warehouse, publications: Sequence[Publication], files: Sequence[DataFile]
) -> list[PublishedFile]:
    """Those of the written files whose rows are published."""
    return [
        (publication, warehouse.uri(file))
        for publication in publications
        for file in files
        if file.table == publication.table.name
    ]


def stored_files(
    warehouse: Warehouse, publications: Sequence[Publication], condition: Condition
) -> list[PublishedFile]:
    """The stored files that may hold published rows of a condition."""
    return [
        (publication, uri)
        for publication in publications
        for uri in warehouse.files(publication.table, condition)
    ]


def publish(
    spark: SparkSession,
    settings: Settings,
    files: Sequence[PublishedFile],
    *,
    conditions: Sequence[Condition] = (),
    rate: float | None = None,
) -> None:
    """Publish the rows of data files; at least once.

    Args:
        spark: the session.
        settings: how to reach the broker.
        files: the data files.
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
    files: Sequence[PublishedFile],
    conditions: Sequence[Condition],
    options: dict[str, Any],
    rate: float | None,
) -> list[str]:
    """In a task; returns what there is to say of files with records that are too large."""
    refused = []
    for publication, uri in files:
        records = publication.records(read_file(uri, publication.table.columns, *conditions))
        try:
            produce(publication.topic, _paced(records, rate), options)
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
