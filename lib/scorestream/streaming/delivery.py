"""Delivery of a micro-batch: scored once, into Delta exactly once, to Kafka at least once."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from pyspark import StorageLevel
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from scorestream.core.pipeline import ScoringModel
from scorestream.errors import DeltaError
from scorestream.io.delta import Warehouse
from scorestream.io.kafka import write_records
from scorestream.rows import (
    BatchFacts,
    failure_messages,
    reject_rows,
    score_rows,
    success_messages,
    transaction_rows,
)
from scorestream.scoring import score_records
from scorestream.settings import Settings
from scorestream.streaming.metrics import BatchSummary, summarise
from scorestream.streaming.start import Start
from scorestream.tables import REJECTS, SCORES, TRANSACTIONS, Table

OFFSET = ["source_partition", "source_offset"]


@dataclass
class Delivery:
    """What is done with every micro-batch (Spark's ``foreachBatch``).

    Each batch goes through four steps; their order is what makes a crash harmless:

    1. Score once, and keep the result for every sink.
    2. Append transactions, rejects and scores to Delta, in a transaction of the run and batch, so
       that a batch repeated by Delta's own retries is written once.
    3. Publish to Kafka what Delta holds for the batch.
    4. Spark commits the checkpoint when this returns; then the listener commits the consumer
       group's offsets.

    The first batch after a restart may be the repetition of one that was cut off, and so may every
    batch of a new checkpoint that begins below what the warehouse holds. There the stored rows
    decide, whatever has changed since: only offsets that neither `scores` nor `rejects` holds are
    scored, and Kafka gets the stored rows.
    """

    settings: Settings
    warehouse: Warehouse
    model: ScoringModel
    code_version: str
    start: Start
    gate: Callable[[SparkSession], None]
    report: Callable[[BatchSummary], None]
    _first: bool = field(default=True, init=False)

    def __call__(self, records: DataFrame, batch_id: int) -> None:
        """Deliver one micro-batch; raising leaves it to be repeated by the next start."""
        self.gate(records.sparkSession)
        run_id = records.sparkSession.sparkContext.getLocalProperty("sql.streaming.queryId")
        batch = _Batch(self, str(run_id), batch_id)
        if (self._first and self.start.may_repeat) or self._overlaps(records):
            batch.resume(records)
        else:
            batch.deliver(records)
        self._first = False

    def _overlaps(self, records: DataFrame) -> bool:
        """Whether the batch has offsets at or below those that the warehouse held at the start."""
        held = self.held()
        return held is not None and not records.where(held).isEmpty()

    def held(self, partition: str = "partition", offset: str = "offset") -> Column | None:
        """Condition on offsets from `start` to `held`; None where there are none."""
        ranges = [
            (F.col(partition) == p) & F.col(offset).between(self.start.state.start.get(p, 0), last)
            for p, last in self.start.state.held.items()
        ]
        if not ranges:
            return None
        condition = ranges[0]
        for each in ranges[1:]:
            condition |= each
        return condition


class _Batch:
    """One micro-batch on its way through the sinks."""

    def __init__(self, delivery: Delivery, run_id: str, batch_id: int) -> None:
        self.delivery = delivery
        self.settings = delivery.settings
        self.warehouse = delivery.warehouse
        self.run_id = run_id
        self.batch_id = batch_id
        self.started = time.monotonic()
        self.scored_at = datetime.now(UTC)

    def deliver(self, records: DataFrame) -> None:
        """The usual way: nothing of this batch was ever stored."""
        # 1.
        scored = self._score(records, self.settings.keeps_history)
        try:
            summary = summarise(scored, self.scored_at, self.batch_id)
            facts = self._facts()
            # 2.
            for table, rows in self._rows(scored, facts, summary):
                self.warehouse.append(table, rows, (f"{self.run_id}/{table.name}", self.batch_id))
            # 3.
            self._publish(
                score_rows(scored, self.delivery.model, facts), reject_rows(scored, facts)
            )
        finally:
            scored.unpersist()
        self.delivery.report(summary.finished(time.time(), time.monotonic() - self.started))

    def resume(self, records: DataFrame) -> None:
        """The careful way: some of this batch may be stored already, and that is what counts.

        Appends carry no transaction here: they hold only what is not stored, so that a further
        crash is resumed in the same way.
        """
        # 1.
        scored = self._score(self._lacking(records), self.settings.keeps_history)
        try:
            summary = summarise(scored, self.scored_at, self.batch_id)
            # 2.
            self._complete_history(records)
            for table, rows in self._rows(scored, self._facts(), summary):
                # Transactions are written first, and may be there without their score.
                lacks = rows.join(self._stored(table).select(*OFFSET), OFFSET, "left_anti")
                self.warehouse.append(table, lacks, None)
            self._refuse_lacking(records)
            # 3.
            self._publish(
                _only(self._stored(SCORES), records), _only(self._stored(REJECTS), records)
            )
        finally:
            scored.unpersist()
        self.delivery.report(summary.finished(time.time(), time.monotonic() - self.started))

    def _lacking(self, records: DataFrame) -> DataFrame:
        """Records that neither `scores` nor `rejects` holds now."""
        return _without(records, self._stored(SCORES), self._stored(REJECTS))

    def _refuse_lacking(self, records: DataFrame) -> None:
        # What lacks is asked anew whenever a lost part of the scored rows has to be computed again,
        # and after the first append the answer may be another.
        if not self._lacking(records).isEmpty():
            raise DeltaError(
                f"batch {self.batch_id} of run {self.run_id} is not whole after its repetition (an "
                "executor was lost?): start the stream again, which finishes it"
            )

    def _complete_history(self, records: DataFrame) -> None:
        """Append the transactions of scores that were stored without them."""
        if not self.settings.keeps_history:
            return
        orphans = self._stored(SCORES).join(self._stored(TRANSACTIONS), OFFSET, "left_anti")
        if orphans.isEmpty():
            return
        scored = score_records(_matching(records, orphans, "left_semi"), self.delivery.model, True)
        self.warehouse.append(TRANSACTIONS, transaction_rows(scored, self._facts()), None)

    def _score(self, records: DataFrame, history: bool) -> DataFrame:
        scored = score_records(records, self.delivery.model, history)
        return scored.persist(StorageLevel.MEMORY_AND_DISK)

    def _facts(self) -> BatchFacts:
        elapsed_ms = round((time.monotonic() - self.started) * 1000)
        return BatchFacts(
            self.run_id, self.batch_id, self.scored_at, elapsed_ms, self.delivery.code_version
        )

    def _rows(
        self, scored: DataFrame, facts: BatchFacts, summary: BatchSummary
    ) -> list[tuple[Table, DataFrame]]:
        """The rows of every table that gets any."""
        rows = []
        if summary.scores and self.settings.keeps_history:
            rows.append((TRANSACTIONS, transaction_rows(scored, facts)))
        if summary.rejects:
            rows.append((REJECTS, reject_rows(scored, facts)))
        if summary.scores:
            rows.append((SCORES, score_rows(scored, self.delivery.model, facts)))
        return rows

    def _stored(self, table: Table) -> DataFrame:
        """Rows that Delta holds of this batch, or of the offsets held before this run."""
        rows = self.warehouse.read(table)
        ours = (F.col("run_id") == self.run_id) & (F.col("batch_id") == self.batch_id)
        held = self.delivery.held(*OFFSET)
        if held is None:
            return rows.where(ours)
        before = held & (F.col("source_topic") == self.delivery.start.state.topic)
        return rows.where(ours | before)

    def _publish(self, scores: DataFrame, rejects: DataFrame) -> None:
        success = success_messages(scores, self.settings.kafka_success_topic)
        failure = failure_messages(rejects, self.settings.kafka_failure_topic)
        write_records(success.unionAll(failure), self.settings)


def _without(records: DataFrame, *stored: DataFrame) -> DataFrame:
    for rows in stored:
        records = _matching(records, rows, "left_anti")
    return records


def _matching(records: DataFrame, rows: DataFrame, how: str) -> DataFrame:
    """Records that have (`left_semi`) or lack (`left_anti`) a row of the same offset."""
    offsets = rows.select(*OFFSET)
    same = (records["partition"] == offsets["source_partition"]) & (
        records["offset"] == offsets["source_offset"]
    )
    return records.join(F.broadcast(offsets), same, how)


def _only(rows: DataFrame, records: DataFrame) -> DataFrame:
    """Rows whose offset is in the batch."""
    offsets = records.select(
        F.col("partition").alias("source_partition"), F.col("offset").alias("source_offset")
    )
    return rows.join(offsets, OFFSET, "left_semi")
