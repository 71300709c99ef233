"""The streaming job, from settings to the last committed batch."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from typing import Final

import structlog
from pyspark.errors import PySparkException, StreamingQueryException
from pyspark.sql.streaming.query import StreamingQuery
from pyspark.sql.streaming.readwriter import DataStreamWriter

from scorestream.infra.config.settings import Settings, normalize_location
from scorestream.infra.delta.warehouse import Warehouse
from scorestream.infra.errors import (
    ConfigurationError,
    KafkaError,
    LostOffsetsError,
    OffsetsGoneError,
    ScorestreamError,
)
from scorestream.infra.kafka.cluster import KafkaCluster
from scorestream.infra.kafka.connection import UNKNOWN_SECONDS
from scorestream.infra.kafka.consumer import read_stream
from scorestream.infra.spark import compat_texts
from scorestream.infra.spark.remote_errors import marked_error
from scorestream.infra.spark.session import build_session
from scorestream.infra.spark.watchdog import Watchdog
from scorestream.infra.storage.lease import HeldLease, hold_lease
from scorestream.infra.storage.locks import exclusive_lock
from scorestream.infra.version import code_version
from scorestream.wallets.execution.configured_scorer import load_scoring_model
from scorestream.wallets.predictors.active_models import ActiveModels
from scorestream.wallets.predictors.config import load_wallet_models
from scorestream.wallets.reference.snapshots import current_reference, keep_copy
from scorestream.wallets.schema.tables import BATCH_TABLES, COVERAGE
from scorestream.wallets.schema.views import CATALOG
from scorestream.wallets.stream.checkpoint import Checkpoint, StreamState
from scorestream.wallets.stream.delivery import Delivery
from scorestream.wallets.stream.disk_full import full_disk_explained
from scorestream.wallets.stream.listener import ProgressLine, StreamListener
from scorestream.wallets.stream.metrics import StreamMetrics
from scorestream.wallets.stream.start import (
    StartingOffsets,
    refuse_recreated,
    starting_offsets,
    starting_state,
)
from scorestream.wallets.stream.stop_signal import StopSignal
from scorestream.wallets.stream.table_maintenance import Tidying

log = structlog.get_logger()

_FENCED: Final = (COVERAGE, *BATCH_TABLES)
_OTHERWISE: Final = "give this one another SCORESTREAM_WAREHOUSE"
# Each batch makes a version of two tables or three. A batch takes about as long as this, so that it
# costs no latency; without it, a faster machine would make the more versions for nothing.
DEFAULT_TRIGGER: Final = "500 milliseconds"


@dataclass(frozen=True)
class StreamOptions:
    """Options of one start of the stream, as the command line gives them.

    Attributes:
        checkpoint: folder or URI; None for the default below the warehouse.
        trigger: interval between micro-batches, as Spark writes it; None for `DEFAULT_TRIGGER`.
        available_now: end when everything present at the start is processed.
        starting_offsets: where a new checkpoint over an empty warehouse starts.
        max_offsets_per_trigger: most messages in a micro-batch.
        reprocess: a new checkpoint starts at `starting_offsets` whatever the warehouse holds.
        scoring: name of the scoring model.
    """

    checkpoint: str | None = None
    trigger: str | None = None
    available_now: bool = False
    starting_offsets: StartingOffsets = "earliest"
    max_offsets_per_trigger: int | None = None
    reprocess: bool = False
    scoring: str = "dex-v1"


def run_stream(options: StreamOptions, settings: Settings) -> None:
    """Run the stream until it ends.

    1. topics: a broker that answers, and all three topics
    2. lock and lease: no other stream on this checkpoint, nor on this topic and warehouse
    3. session, tables, reference data, scoring model
    4. start: registered models, then after the checkpoint, or after what the warehouse holds
    5. run until drained, stopped or failed

    Raises:
        ScorestreamError: the environment is not as the job needs it, or the query failed.
    """
    wallet_models = load_wallet_models(settings)
    stop = StopSignal()
    stop.listen()
    # 1.
    cluster = KafkaCluster(settings)
    cluster.ensure_topics()
    # 2.
    default = f"{settings.warehouse}/_checkpoints/stream_scores"
    location = normalize_location(options.checkpoint or default)
    places = full_disk_explained(settings.warehouse, location)
    warehouse = Warehouse(settings.warehouse, CATALOG)
    with (
        places,
        exclusive_lock(location, _OTHERWISE),
        _lease(warehouse, settings) as held,
        ProgressLine() as line,
    ):
        # 3.
        spark = build_session("stream_scores", settings, location)
        stop.handle_signals()
        warehouse.create_tables()
        warehouse.fence = held.fence
        for table in _FENCED:
            warehouse.fence_off(table)
        reference = current_reference(settings, warehouse)
        keep_copy(reference, warehouse)
        conf = settings.scorestream_conf
        model = load_scoring_model(conf, options.scoring, reference.stable_symbols)
        # 4.
        metrics = StreamMetrics()
        metrics.serve(settings)
        active_models = ActiveModels(wallet_models, settings, metrics)
        active_models.start()
        listener = StreamListener(cluster, metrics, line)
        spark.streams.addListener(listener)
        checkpoint = Checkpoint(spark, location)
        start = starting_state(
            spark, checkpoint, warehouse, cluster, options.reprocess, options.starting_offsets
        )
        delivery = Delivery(
            settings,
            spark,
            warehouse,
            model,
            code_version(),
            start,
            stop.gate,
            listener.report,
            partial(_check, held, cluster, start.state),
            active_models,
        )
        query = _start(options, cluster, delivery, location)
        # 5.
        signs = f"{settings.warehouse}/_progress/{sha256(location.encode()).hexdigest()[:16]}"
        watchdog = Watchdog(spark, settings.scorestream_task_seconds, signs)
        with watchdog, Tidying(warehouse.root):
            check_topic = partial(refuse_recreated, cluster, start.state, UNKNOWN_SECONDS)
            _wait(query, stop, watchdog, check_topic)
        _finish(query, stop, listener)


def _lease(warehouse: Warehouse, settings: Settings) -> AbstractContextManager[HeldLease]:
    """The only right to store what comes of the input topic, whatever machine asks for it."""
    name = f"stream-{settings.kafka_input_topic}"
    return hold_lease(warehouse.root, name, _OTHERWISE, floor=warehouse.last_epoch(name, _FENCED))


def _check(held: HeldLease, cluster: KafkaCluster, state: StreamState) -> None:
    """Refuse to commit for another topic than the checkpoint's, or after another stream's start."""
    held.check()
    refuse_recreated(cluster, state)


def _start(
    options: StreamOptions, cluster: KafkaCluster, delivery: Delivery, location: str
) -> StreamingQuery:
    ends = cluster.end_offsets(cluster.settings.kafka_input_topic)
    offsets = starting_offsets(delivery.start, list(ends), options.starting_offsets)
    source = {"startingOffsets": offsets}
    if options.max_offsets_per_trigger is not None:
        source["maxOffsetsPerTrigger"] = str(options.max_offsets_per_trigger)
    records = read_stream(delivery.spark, cluster.settings, **source)
    try:
        writer = _triggered(records.writeStream.foreachBatch(delivery), options)
    except PySparkException as error:
        raise ConfigurationError(f"--trigger {options.trigger!r}: {error}") from None
    return writer.option("checkpointLocation", location).start()


def _triggered(writer: DataStreamWriter, options: StreamOptions) -> DataStreamWriter:
    if options.available_now:
        return writer.trigger(availableNow=True)
    return writer.trigger(processingTime=options.trigger or DEFAULT_TRIGGER)


def _wait(
    query: StreamingQuery, stop: StopSignal, watchdog: Watchdog, check_topic: Callable[[], None]
) -> None:
    try:
        stop.wait(query)
    except StreamingQueryException as error:
        explained = explained_failure(error, watchdog.gave_up)
        if explained.exit_code == ScorestreamError.exit_code:
            _blame_topic(check_topic)
        raise explained from error


def _blame_topic(check_topic: Callable[[], None]) -> None:
    """Raise what is wrong with the input topic, if that is what no restart mends.

    Of a topic that was deleted or recreated, tasks may only know that nothing came.
    """
    try:
        check_topic()
    except ScorestreamError as error:
        if error.exit_code != ScorestreamError.exit_code:
            raise


def _finish(query: StreamingQuery, stop: StopSignal, listener: StreamListener) -> None:
    listener.wait_for_the_end()
    log.info("stream_stopped" if stop.asked else "stream_drained", run_id=str(query.id))


def explained_failure(
    error: StreamingQueryException, cancelled: str | None = None
) -> ScorestreamError:
    """A failed query in one clear line, where its cause is a known one.

    Args:
        error: as Spark raised it.
        cancelled: why the watchdog cancelled a stage, if it did.
    """
    text = str(error)
    ours = marked_error(text)
    if isinstance(ours, OffsetsGoneError) or compat_texts.says_lost_offsets(text):
        return LostOffsetsError(
            "offsets that were not processed yet are gone from the input topic (aged out, or the "
            "topic was deleted or recreated): nothing was skipped; see docs/troubleshooting.md"
        )
    planning = compat_texts.kafka_client_reason(text)
    if planning is not None:
        return KafkaError(f"no batch can be planned: {planning}; check the broker, start again")
    return ours or ScorestreamError(f"the stream failed: {_reason(text, cancelled)}")


def _reason(text: str, cancelled: str | None) -> str:
    """What Python raised; else why a task was given up; else what Spark says first."""
    if (raised := compat_texts.python_error(text)) is not None:
        return raised
    if cancelled is not None:
        return f"{cancelled}; see docs/troubleshooting.md"
    if compat_texts.says_worker_crashed(text):
        return (
            "the Python worker of a task ended at every attempt: out of memory, killed, or a crash "
            "of a library; see docs/troubleshooting.md"
        )
    return text.strip().splitlines()[0]
