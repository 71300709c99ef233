"""`replay_rejects`: sends rejects back to the input topic, once each, after their cause is fixed.

Kafka and Delta share no transaction, so "once each" takes three steps:

1. Record the selected rejects in `replays` as `planned`, with the input topic's end offsets.
2. Send them: raw bytes, original key and timestamp, headers for the attempts and the origin.
3. Record them as `sent`.

A run that was interrupted leaves rejects planned and not sent. The next run looks for them in the
input topic from the recorded offsets on: those found were sent, the others are sent now.
"""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import structlog
from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F

from scorestream.infra.config.settings import Settings
from scorestream.infra.delta.spark_reader import read
from scorestream.infra.delta.table import Table
from scorestream.infra.delta.warehouse import Warehouse
from scorestream.infra.errors import QueryError
from scorestream.infra.kafka.cluster import KafkaCluster, Offsets
from scorestream.infra.kafka.headers import ORIGIN_HEADER, read_headers, read_origin
from scorestream.infra.kafka.producer import Record
from scorestream.infra.kafka.records import ATTEMPT_HEADER, FIRST_MOMENT_MS, LAST_MOMENT_MS
from scorestream.infra.spark.session import build_session
from scorestream.infra.sql.spark_guard import ReadOnlySession
from scorestream.infra.storage.locks import exclusive_lock
from scorestream.wallets.core.rules import SOURCE_ID
from scorestream.wallets.schema.tables import REJECTS, REPLAYS
from scorestream.wallets.schema.views import CATALOG

log = structlog.get_logger()

ORIGIN: Final = [*SOURCE_ID]
PLANNED: Final = "planned"
SENT: Final = "sent"


def replay_rejects(where: str | None, settings: Settings, *, dry_run: bool) -> None:
    """Send rejects back to the input topic, and print how many, by error code, on stdout.

    Args:
        where: a SQL condition over the columns of `rejects`; None for all.
        settings: where rejects and topics are.
        dry_run: only print what would be sent.

    Raises:
        QueryError: the condition is not valid.
        KafkaError: the broker refused a record; the next run sends what was not sent.
    """
    cluster = KafkaCluster(settings)
    cluster.ensure_topics()
    with exclusive_lock(f"{settings.warehouse}/_checkpoints/replay_rejects"):
        warehouse = Warehouse(settings.warehouse, CATALOG)
        warehouse.create_tables()
        session = ReadOnlySession(build_session("replay_rejects", settings), ())
        stores = _Stores(session, warehouse, cluster)
        _finish_interrupted(stores, dry_run=dry_run)
        _replay_selected(stores, where, dry_run=dry_run)


@dataclass(frozen=True)
class _Stores:
    """Where rejects come from, and where they go."""

    reading: ReadOnlySession
    warehouse: Warehouse
    cluster: KafkaCluster

    @property
    def topic(self) -> str:
        return self.cluster.settings.kafka_input_topic

    def read(self, table: Table) -> DataFrame:
        return read(self.reading.session, self.warehouse, table)

    def record(self, rejects: DataFrame, state: str, replay_id: str, ends: Offsets) -> None:
        """Append the state of each reject to `replays`."""
        records = rejects.select(
            *ORIGIN,
            F.lit(state).alias("state"),
            F.lit(replay_id).alias("replay_id"),
            F.lit(json.dumps(ends)).alias("topic_ends"),
            F.lit(datetime.now(UTC)).alias("recorded_at"),
        )
        self.warehouse.write(REPLAYS, records.toArrow().cast(REPLAYS.columns))


def _replay_selected(stores: _Stores, where: str | None, *, dry_run: bool) -> None:
    selected = _select_rejects(stores, where)
    counts = selected.groupBy("error_code").count().orderBy("error_code").collect()
    for code, count in counts:
        print(f"{count:8,} {code}")
    total = sum(count for _, count in counts)
    print(f"{total:8,} {'would be ' if dry_run else ''}replayed to {stores.topic}")
    if total and not dry_run:
        _replay(stores, selected)


def _select_rejects(stores: _Stores, where: str | None) -> DataFrame:
    """Select rejects of the topic that meet the condition and were never planned for a replay."""
    rejects = stores.read(REJECTS).where(F.col("source_topic") == stores.topic)
    if where is not None:
        try:
            rejects = stores.reading.filter_rows(rejects, where)
        except QueryError as error:
            raise QueryError(f"--where: {error}") from None
    # A message is sent once, however many scorings have rejected it.
    return rejects.join(stores.read(REPLAYS), ORIGIN, "left_anti").dropDuplicates(ORIGIN)


def _replay(stores: _Stores, selected: DataFrame) -> None:
    replay_id = str(uuid.uuid4())
    offsets = stores.cluster.written_offsets(stores.topic)
    # 1. Record the rejects as planned.
    stores.record(selected, PLANNED, replay_id, offsets)
    planned = _read_planned(stores, replay_id)
    # 2. Send them.
    _send(stores, planned)
    # 3. Record them as sent.
    stores.record(planned, SENT, replay_id, offsets)
    log.info("replayed", replay_id=replay_id)


def _finish_interrupted(stores: _Stores, *, dry_run: bool) -> None:
    """Finish every replay that was interrupted after its rejects were planned."""
    if stores.warehouse.is_empty(REPLAYS):
        return
    notes = stores.read(REPLAYS)
    done = notes.where(F.col("state") == SENT)
    open_notes = notes.where(F.col("state") == PLANNED).join(done, ["replay_id"], "left_anti")
    for replay_id, topic_ends in open_notes.select("replay_id", "topic_ends").distinct().collect():
        planned = _read_planned(stores, replay_id)
        offsets = {int(p): offset for p, offset in json.loads(topic_ends).items()}
        lacking = planned.join(_find_sent_origins(stores, offsets), ORIGIN, "left_anti")
        print(f"{lacking.count():8,} left over by replay {replay_id}, which was cut off")
        if not dry_run:
            _send(stores, lacking)
            stores.record(planned, SENT, replay_id, offsets)


def _read_planned(stores: _Stores, replay_id: str) -> DataFrame:
    notes = stores.read(REPLAYS)
    return notes.where((F.col("replay_id") == replay_id) & (F.col("state") == PLANNED)).select(
        ORIGIN
    )


def _send(stores: _Stores, origins: DataFrame) -> None:
    rejects = stores.read(REJECTS).dropDuplicates(ORIGIN).join(origins, ORIGIN, "left_semi")
    rows = rejects.withColumn("ms", F.unix_millis("source_timestamp")).toLocalIterator()
    stores.cluster.produce(stores.topic, (_record(row) for row in rows))


def _record(row: Row) -> Record:
    """The original message, with headers for the attempts so far and its origin."""
    origin = f"{row.source_topic}/{row.source_partition}/{row.source_offset}"
    return Record(
        key=None if row.key is None else bytes(row.key),
        value=None if row.value is None else bytes(row.value),
        # An impossible timestamp becomes the time of sending: it would be rejected again.
        timestamp=row.ms if FIRST_MOMENT_MS <= row.ms <= LAST_MOMENT_MS else None,
        headers=(
            (ATTEMPT_HEADER, str(row.attempt + 1).encode()),
            (ORIGIN_HEADER, origin.encode()),
        ),
    )


def _find_sent_origins(stores: _Stores, start: Offsets) -> DataFrame:
    """Find the rejects that were replayed into the input topic, from given offsets on.

    Replays use no transaction. An open transaction of another producer hides later records from
    `read_committed` consumers, so uncommitted records are read, or rejects would be sent twice.
    """
    written = stores.cluster.written_offsets(stores.topic)
    records = stores.cluster.consume(stores.topic, start, written, level="read_uncommitted")
    origins = (read_origin(read_headers(message)) for message in records)
    schema = "source_topic string, source_partition int, source_offset bigint"
    rows = [origin for origin in origins if origin]
    return stores.reading.session.createDataFrame(rows, schema)
