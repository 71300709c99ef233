"""A streaming job, from its locks to the last committed batch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from typing import Final

import structlog
from pyspark.errors import PySparkException, StreamingQueryException
from pyspark.sql import SparkSession
from pyspark.sql.streaming.query import StreamingQuery
from pyspark.sql.streaming.readwriter import DataStreamWriter

from scorestream.infra.config.settings import Settings, normalize_location
from scorestream.infra.delivery.batch import ReportT, Transform
from scorestream.infra.delivery.checkpoint import Checkpoint, StreamState
from scorestream.infra.delivery.coverage_table import CoverageTable
from scorestream.infra.delivery.delivery import Delivery
from scorestream.infra.delivery.disk_full import full_disk_explained
from scorestream.infra.delivery.failures import explained_failure
from scorestream.infra.delivery.listener import ProgressLine, StreamListener
from scorestream.infra.delivery.start import Start, StartingOffsets, find_start, starting_offsets
from scorestream.infra.delivery.start_checks import refuse_recreated
from scorestream.infra.delivery.stop_signal import StopSignal
from scorestream.infra.delivery.stream import Stream
from scorestream.infra.delivery.table_maintenance import TableMaintenance
from scorestream.infra.delta.table import Catalog
from scorestream.infra.delta.warehouse import Warehouse
from scorestream.infra.errors import ConfigurationError, ScorestreamError
from scorestream.infra.kafka.cluster import KafkaCluster
from scorestream.infra.kafka.connection import UNKNOWN_SECONDS
from scorestream.infra.kafka.consumer import read_stream
from scorestream.infra.spark.session import build_session
from scorestream.infra.spark.watchdog import Watchdog
from scorestream.infra.storage.lease import HeldLease, hold_lease
from scorestream.infra.storage.locks import exclusive_lock

log = structlog.get_logger()

_OTHERWISE: Final = "give this one another SCORESTREAM_WAREHOUSE"
# Each batch makes a version of two tables or three. A batch takes about as long as this, so that it
# costs no latency; without it, a faster machine would make the more versions for nothing.
DEFAULT_TRIGGER: Final = "500 milliseconds"


@dataclass(frozen=True)
class StreamOptions:
    """Options of one start of a stream, as the command line gives them.

    Attributes:
        checkpoint: folder or URI; None for the default below the warehouse.
        trigger: interval between micro-batches, as Spark writes it; None for `DEFAULT_TRIGGER`.
        available_now: end when everything present at the start is processed.
        starting_offsets: where a new checkpoint over an empty warehouse starts.
        max_offsets_per_trigger: most messages in a micro-batch.
        reprocess: a new checkpoint starts at `starting_offsets` whatever the warehouse holds.
    """

    checkpoint: str | None = None
    trigger: str | None = None
    available_now: bool = False
    starting_offsets: StartingOffsets = "earliest"
    max_offsets_per_trigger: int | None = None
    reprocess: bool = False


@dataclass(frozen=True, kw_only=True)
class StreamJob:
    """A stream that this process alone may run; its session and tables are ready.

    Attributes:
        stream: the declaration.
        options: of this start.
        settings: how to reach the broker, and where the warehouse is.
        checkpoint: path or URI.
        cluster: with the topics.
        warehouse: with the tables.
        held: the lease of the topic.
        stop: whether a stop was asked for.
        line: on a terminal.
        spark: the session.
    """

    stream: Stream
    options: StreamOptions
    settings: Settings
    checkpoint: str
    cluster: KafkaCluster
    warehouse: Warehouse
    held: HeldLease
    stop: StopSignal
    line: ProgressLine
    spark: SparkSession

    def run(self, transform: Transform[ReportT], listener: StreamListener | None = None) -> None:
        """Run the stream until it is drained, stopped or failed.

        1. start: after the checkpoint, or after what the warehouse holds
        2. query: with a watchdog for tasks, and upkeep of the tables
        3. end: the last offsets are committed to the consumer group

        Args:
            transform: what becomes of the messages.
            listener: follows the progress; None: one that shows the lag.

        Raises:
            ScorestreamError: the environment is not as the job needs it, or the query failed.
        """
        listener = listener or StreamListener(self.cluster, self.stream.topic, self.line)
        self.spark.streams.addListener(listener)
        # 1. Start
        start = find_start(
            Checkpoint(self.spark, self.checkpoint),
            CoverageTable(self.warehouse, self.stream),
            self.cluster,
            reprocess=self.options.reprocess,
            default=self.options.starting_offsets,
        )
        delivery = Delivery(
            spark=self.spark,
            settings=self.settings,
            start=start,
            transform=transform,
            before_batch=self.stop.hold_if_asked,
            before_commit=partial(self._refuse_commit, start.state),
        )
        # 2. Query
        query = self._start_query(delivery)
        with self._watchdog() as watchdog, TableMaintenance(self.warehouse, self.stream):
            self._wait(query, start, watchdog)
        # 3. End
        listener.wait_for_the_end()
        self.spark.streams.removeListener(listener)
        log.info("stream_stopped" if self.stop.asked else "stream_drained", run_id=str(query.id))

    def _refuse_commit(self, state: StreamState) -> None:
        """Refuse to commit for another topic than the checkpoint's, or after another's start."""
        self.held.check()
        refuse_recreated(self.cluster, state)

    def _start_query(self, delivery: Delivery[ReportT]) -> StreamingQuery:
        options, topic = self.options, self.stream.topic
        ends = self.cluster.end_offsets(topic)
        offsets = starting_offsets(delivery.start, list(ends), options.starting_offsets)
        source = {"startingOffsets": offsets}
        if options.max_offsets_per_trigger is not None:
            source["maxOffsetsPerTrigger"] = str(options.max_offsets_per_trigger)
        records = read_stream(self.spark, self.settings, topic, **source)
        try:
            writer = _triggered(records.writeStream.foreachBatch(delivery), options)
        except PySparkException as error:
            raise ConfigurationError(f"--trigger {options.trigger!r}: {error}") from None
        return writer.option("checkpointLocation", self.checkpoint).start()

    def _watchdog(self) -> Watchdog:
        name = sha256(self.checkpoint.encode()).hexdigest()[:16]
        folder = f"{self.settings.warehouse}/_progress/{name}"
        return Watchdog(self.spark, self.settings.scorestream_task_seconds, folder)

    def _wait(self, query: StreamingQuery, start: Start, watchdog: Watchdog) -> None:
        try:
            self.stop.wait(query)
        except StreamingQueryException as error:
            explained = explained_failure(error, watchdog.gave_up)
            if explained.exit_code == ScorestreamError.exit_code:
                self._blame_topic(start.state)
            raise explained from error

    def _blame_topic(self, state: StreamState) -> None:
        """Raise what is wrong with the input topic, if that is what no restart mends.

        Of a topic that was deleted or recreated, tasks may only know that nothing came.
        """
        try:
            refuse_recreated(self.cluster, state, UNKNOWN_SECONDS)
        except ScorestreamError as error:
            if error.exit_code != ScorestreamError.exit_code:
                raise


@contextmanager
def open_stream(
    stream: Stream, options: StreamOptions, settings: Settings, catalog: Catalog
) -> Iterator[StreamJob]:
    """Get ready to run a stream; in the block this process alone may do so.

    1. topics: a broker that answers, and all topics
    2. lock and lease: no other stream on this checkpoint, nor on this topic and warehouse
    3. session, and tables, which refuse streams before this one

    Args:
        stream: the declaration.
        options: of this start.
        settings: how to reach the broker, and where the warehouse is.
        catalog: all tables of the warehouse, those of the stream among them.

    Raises:
        ScorestreamError: the environment is not as the job needs it.
    """
    stop = StopSignal()
    stop.listen()
    # 1. Topics
    cluster = KafkaCluster(settings)
    cluster.ensure_topics(stream.topics)
    # 2. Lock and lease
    default = f"{settings.warehouse}/_checkpoints/{stream.name}"
    location = normalize_location(options.checkpoint or default)
    warehouse = Warehouse(settings.warehouse, catalog)
    with (
        full_disk_explained(settings.warehouse, location),
        exclusive_lock(location, _OTHERWISE),
        _lease(warehouse, stream) as held,
        ProgressLine() as line,
    ):
        # 3. Session and tables
        spark = build_session(stream.name, settings, location)
        stop.handle_signals()
        warehouse.create_tables()
        warehouse.fence = held.fence
        for table in stream.all_tables:
            warehouse.fence_off(table)
        yield StreamJob(
            stream=stream,
            options=options,
            settings=settings,
            checkpoint=location,
            cluster=cluster,
            warehouse=warehouse,
            held=held,
            stop=stop,
            line=line,
            spark=spark,
        )


def _lease(warehouse: Warehouse, stream: Stream) -> AbstractContextManager[HeldLease]:
    """The only right to store what comes of the input topic, whatever machine asks for it."""
    name = f"stream-{stream.topic}"
    floor = warehouse.last_epoch(name, stream.all_tables)
    return hold_lease(warehouse.root, name, _OTHERWISE, floor=floor)


def _triggered(writer: DataStreamWriter, options: StreamOptions) -> DataStreamWriter:
    if options.available_now:
        return writer.trigger(availableNow=True)
    return writer.trigger(processingTime=options.trigger or DEFAULT_TRIGGER)
