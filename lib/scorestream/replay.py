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
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, Final

import structlog
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F

from scorestream.errors import QueryError
from scorestream.io.delta import Warehouse
from scorestream.io.kafka import KafkaCluster, Offsets, Record
from scorestream.locks import exclusive_lock
from scorestream.query import refuse_writing
from scorestream.scoring import ATTEMPT_HEADER
from scorestream.session import build_session
from scorestream.settings import Settings
from scorestream.tables import REJECTS, REPLAYS

log = structlog.get_logger()

ORIGIN_HEADER: Final = "scorestream-replay-of"
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
        warehouse = Warehouse(build_session("replay_rejects", settings), settings.warehouse)
        warehouse.create_tables()
        _settle(warehouse, cluster, dry_run)
        _replay_chosen(warehouse, cluster, where, dry_run)


def _replay_chosen(
    warehouse: Warehouse, cluster: KafkaCluster, where: str | None, dry_run: bool
) -> None:
    topic = cluster.settings.kafka_input_topic
    chosen = _chosen(warehouse, topic, where)
    counts = chosen.groupBy("error_code").count().orderBy("error_code").collect()
    for code, count in counts:
        print(f"{count:8,} {code}")
    total = sum(count for _, count in counts)
    print(f"{total:8,} {'would be ' if dry_run else ''}replayed to {topic}")
    if total and not dry_run:
        _replay(warehouse, cluster, chosen)


def _chosen(warehouse: Warehouse, topic: str, where: str | None) -> DataFrame:
    """Rejects of the topic that fit the condition and were never planned for a replay."""
    rejects = warehouse.read(REJECTS).where(F.col("source_topic") == topic)
    if where is not None:
        refuse_writing(warehouse.spark, f"VALUES ({where}\n)")
        try:
            rejects = rejects.where(where)
        except PySparkException as error:
            raise QueryError(f"--where: {str(error).splitlines()[0]}") from None
    return rejects.join(warehouse.read(REPLAYS), ORIGIN, "left_anti")


def _replay(warehouse: Warehouse, cluster: KafkaCluster, chosen: DataFrame) -> None:
    replay_id = str(uuid.uuid4())
    ends = cluster.end_offsets(cluster.settings.kafka_input_topic)
    # 1.
    warehouse.append(REPLAYS, _notes(chosen, PLANNED, replay_id, ends), None)
    planned = _planned(warehouse, replay_id)
    # 2.
    _send(warehouse, cluster, planned)
    # 3.
    warehouse.append(REPLAYS, _notes(planned, SENT, replay_id, ends), None)
    log.info("replayed", replay_id=replay_id)


def _settle(warehouse: Warehouse, cluster: KafkaCluster, dry_run: bool) -> None:
    """Bring to its end every replay that was cut off between plan and done."""
    if warehouse.is_empty(REPLAYS):
        return
    notes = warehouse.read(REPLAYS)
    done = notes.where(F.col("state") == SENT)
    open_notes = notes.where(F.col("state") == PLANNED).join(done, ["replay_id"], "left_anti")
    for replay_id, topic_ends in open_notes.select("replay_id", "topic_ends").distinct().collect():
        planned = _planned(warehouse, replay_id)
        ends = {int(p): offset for p, offset in json.loads(topic_ends).items()}
        sent = _origins_sent_since(warehouse, cluster, ends)
        lacking = planned.join(sent, ORIGIN, "left_anti")
        print(f"{lacking.count():8,} left over by replay {replay_id}, which was cut off")
        if not dry_run:
            _send(warehouse, cluster, lacking)
            warehouse.append(REPLAYS, _notes(planned, SENT, replay_id, ends), None)


def _planned(warehouse: Warehouse, replay_id: str) -> DataFrame:
    notes = warehouse.read(REPLAYS)
    return notes.where((F.col("replay_id") == replay_id) & (F.col("state") == PLANNED)).select(
        ORIGIN
    )


def _notes(rejects: DataFrame, state: str, replay_id: str, ends: Offsets) -> DataFrame:
    return rejects.select(
        *ORIGIN,
        F.lit(state).alias("state"),
        F.lit(replay_id).alias("replay_id"),
        F.lit(json.dumps(ends)).alias("topic_ends"),
        F.lit(datetime.now(UTC)).alias("recorded_at"),
    )


def _send(warehouse: Warehouse, cluster: KafkaCluster, origins: DataFrame) -> None:
    rejects = warehouse.read(REJECTS).dropDuplicates(ORIGIN).join(origins, ORIGIN, "left_semi")
    rows = rejects.withColumn("ms", F.unix_millis("source_timestamp")).toLocalIterator()
    cluster.produce(cluster.settings.kafka_input_topic, (_record(row) for row in rows))


def _record(row: Row) -> Record:
    """The message as it first came, with the attempts so far and where it came from."""
    origin = f"{row.source_topic}/{row.source_partition}/{row.source_offset}"
    return Record(
        key=None if row.key is None else bytes(row.key),
        value=None if row.value is None else bytes(row.value),
        timestamp=row.ms,
        headers=(
            (ATTEMPT_HEADER, str(row.attempt + 1).encode()),
            (ORIGIN_HEADER, origin.encode()),
        ),
    )


def _origins_sent_since(warehouse: Warehouse, cluster: KafkaCluster, start: Offsets) -> DataFrame:
    """Which rejects the input topic holds as replayed, from the offsets given on."""
    topic = cluster.settings.kafka_input_topic
    records = cluster.consume(topic, start, cluster.end_offsets(topic))
    rows = list(_origins(message.headers() or [] for message in records))
    schema = "source_topic string, source_partition int, source_offset bigint"
    return warehouse.spark.createDataFrame(rows, schema)


def _origins(headers: Iterable[Any]) -> Iterator[tuple[str, int, int]]:
    for each in headers:
        origin = dict(each).get(ORIGIN_HEADER)
        if origin is not None:
            topic, partition, offset = origin.decode().rsplit("/", 2)
            yield topic, int(partition), int(offset)
