"""`replay_rejects`: rejects back into the input topic, once each, after their cause was mended.

Kafka and Delta share no transaction, so that "once each" takes three steps:

1. plan: the rejects chosen are noted in `replays` as `planned`, with the input topic's end offsets
2. send: raw bytes, original key and timestamp, headers that count the attempts and name the origin
3. done: they are noted as `sent`

A run that was cut off leaves rejects planned and not sent. The next run looks for them in the input
topic from the noted offsets on: those found there were sent, the others are sent now.
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
from scorestream.infra.kafka.headers import ORIGIN_HEADER, headers_of, origin_of
from scorestream.infra.kafka.producer import Record
from scorestream.infra.kafka.records import ATTEMPT_HEADER, FIRST_MOMENT_MS, LAST_MOMENT_MS
from scorestream.infra.spark.session import build_session
from scorestream.infra.sql.spark_guard import ReadingSession
from scorestream.infra.storage.locks import exclusive_lock
from scorestream.wallets.schema.tables import REJECTS, REPLAYS
from scorestream.wallets.schema.views import CATALOG

log = structlog.get_logger()

ORIGIN: Final = ["source_topic", "source_partition", "source_offset"]
PLANNED: Final = "planned"
SENT: Final = "sent"


def replay_rejects(where: str | None, dry_run: bool, settings: Settings) -> None:
    """Send rejects back to the input topic and say how many, by error code, on stdout.

    Args:
        where: a SQL condition over the columns of `rejects`; None for all.
        dry_run: only say what would be sent.

    Raises:
        QueryError: the condition is none.
        KafkaError: the broker refused a record; what was not sent is sent by the next run.
    """
    cluster = KafkaCluster(settings)
    cluster.ensure_topics()
    with exclusive_lock(f"{settings.warehouse}/_checkpoints/replay_rejects"):
        warehouse = Warehouse(settings.warehouse, CATALOG)
        warehouse.create_tables()
        session = ReadingSession(build_session("replay_rejects", settings), ())
        ends = _Ends(session, warehouse, cluster)
        _settle(ends, dry_run)
        _replay_chosen(ends, where, dry_run)


@dataclass(frozen=True)
class _Ends:
    """Where rejects come from and go to."""

    reading: ReadingSession
    warehouse: Warehouse
    cluster: KafkaCluster

    @property
    def topic(self) -> str:
        return self.cluster.settings.kafka_input_topic

    def read(self, table: Table) -> DataFrame:
        return read(self.reading.session, self.warehouse, table)

    def note(self, rejects: DataFrame, state: str, replay_id: str, ends: Offsets) -> None:
        """Append a note on each of the rejects to `replays`."""
        notes = rejects.select(
            *ORIGIN,
            F.lit(state).alias("state"),
            F.lit(replay_id).alias("replay_id"),
            F.lit(json.dumps(ends)).alias("topic_ends"),
            F.lit(datetime.now(UTC)).alias("recorded_at"),
        )
        self.warehouse.write(REPLAYS, notes.toArrow().cast(REPLAYS.columns))


def _replay_chosen(ends: _Ends, where: str | None, dry_run: bool) -> None:
    chosen = _chosen(ends, where)
    counts = chosen.groupBy("error_code").count().orderBy("error_code").collect()
    for code, count in counts:
        print(f"{count:8,} {code}")
    total = sum(count for _, count in counts)
    print(f"{total:8,} {'would be ' if dry_run else ''}replayed to {ends.topic}")
    if total and not dry_run:
        _replay(ends, chosen)


def _chosen(ends: _Ends, where: str | None) -> DataFrame:
    """Rejects of the topic that fit the condition and were never planned for a replay."""
    rejects = ends.read(REJECTS).where(F.col("source_topic") == ends.topic)
    if where is not None:
        try:
            rejects = ends.reading.chosen(rejects, where)
        except QueryError as error:
            raise QueryError(f"--where: {error}") from None
    return rejects.join(ends.read(REPLAYS), ORIGIN, "left_anti")


def _replay(ends: _Ends, chosen: DataFrame) -> None:
    replay_id = str(uuid.uuid4())
    offsets = ends.cluster.written_offsets(ends.topic)
    # 1.
    ends.note(chosen, PLANNED, replay_id, offsets)
    planned = _planned(ends, replay_id)
    # 2.
    _send(ends, planned)
    # 3.
    ends.note(planned, SENT, replay_id, offsets)
    log.info("replayed", replay_id=replay_id)


def _settle(ends: _Ends, dry_run: bool) -> None:
    """Bring to its end every replay that was cut off between plan and done."""
    if ends.warehouse.is_empty(REPLAYS):
        return
    notes = ends.read(REPLAYS)
    done = notes.where(F.col("state") == SENT)
    open_notes = notes.where(F.col("state") == PLANNED).join(done, ["replay_id"], "left_anti")
    for replay_id, topic_ends in open_notes.select("replay_id", "topic_ends").distinct().collect():
        planned = _planned(ends, replay_id)
        offsets = {int(p): offset for p, offset in json.loads(topic_ends).items()}
        lacking = planned.join(_origins_sent_since(ends, offsets), ORIGIN, "left_anti")
        print(f"{lacking.count():8,} left over by replay {replay_id}, which was cut off")
        if not dry_run:
            _send(ends, lacking)
            ends.note(planned, SENT, replay_id, offsets)


def _planned(ends: _Ends, replay_id: str) -> DataFrame:
    notes = ends.read(REPLAYS)
    return notes.where((F.col("replay_id") == replay_id) & (F.col("state") == PLANNED)).select(
        ORIGIN
    )


def _send(ends: _Ends, origins: DataFrame) -> None:
    rejects = ends.read(REJECTS).dropDuplicates(ORIGIN).join(origins, ORIGIN, "left_semi")
    rows = rejects.withColumn("ms", F.unix_millis("source_timestamp")).toLocalIterator()
    ends.cluster.produce(ends.topic, (_record(row) for row in rows))


def _record(row: Row) -> Record:
    """The message as it first came, with the attempts so far and where it came from."""
    origin = f"{row.source_topic}/{row.source_partition}/{row.source_offset}"
    return Record(
        key=None if row.key is None else bytes(row.key),
        value=None if row.value is None else bytes(row.value),
        # What had no moment gets the one of sending: the same again would be rejected again.
        timestamp=row.ms if FIRST_MOMENT_MS <= row.ms <= LAST_MOMENT_MS else None,
        headers=(
            (ATTEMPT_HEADER, str(row.attempt + 1).encode()),
            (ORIGIN_HEADER, origin.encode()),
        ),
    )


def _origins_sent_since(ends: _Ends, start: Offsets) -> DataFrame:
    """Which rejects the input topic holds as replayed, from the offsets given on.

    Ours are of no transaction. One that is open hides what was sent after it began from those who
    read what is committed only, and what was sent would be sent again.
    """
    written = ends.cluster.written_offsets(ends.topic)
    records = ends.cluster.consume(ends.topic, start, written, level="read_uncommitted")
    found = (origin_of(headers_of(message)) for message in records)
    schema = "source_topic string, source_partition int, source_offset bigint"
    rows = [origin for origin in found if origin]
    return ends.reading.session.createDataFrame(rows, schema)
