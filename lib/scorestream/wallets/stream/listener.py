"""After every committed micro-batch: consumer group, lag, log line, live line on a terminal."""

from __future__ import annotations

import json
import sys
import threading
from types import TracebackType
from typing import Final, Self

import structlog
from pyspark.sql.streaming.listener import (
    QueryIdleEvent,
    QueryProgressEvent,
    QueryStartedEvent,
    QueryTerminatedEvent,
    StreamingQueryListener,
    StreamingQueryProgress,
)
from rich.console import Console
from rich.status import Status

from scorestream.infra.cli.launcher import report_progress
from scorestream.infra.errors import KafkaError
from scorestream.infra.kafka.cluster import KafkaCluster, Offsets
from scorestream.wallets.stream.metrics import BatchSummary, StreamMetrics

log = structlog.get_logger()

END_SECONDS: Final = 20.0


class ProgressLine:
    """One live line on a terminal; nothing elsewhere."""

    def __init__(self) -> None:
        self._status: Status | None = None
        if sys.stderr.isatty():
            self._status = Console(stderr=True).status("waiting for the first batch")

    def __enter__(self) -> Self:
        if self._status:
            self._status.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._status:
            self._status.stop()

    def show(self, text: str) -> None:
        if self._status:
            self._status.update(text)


class StreamListener(StreamingQueryListener):
    """Hears of every committed batch; errors here are logged and never stop the stream."""

    def __init__(self, cluster: KafkaCluster, metrics: StreamMetrics, line: ProgressLine) -> None:
        self._cluster = cluster
        self._metrics = metrics
        self._line = line
        self._scores = self._rejects = 0
        self._rate = 0.0
        self._ended = threading.Event()

    def report(self, summary: BatchSummary) -> None:
        """Take the summary of a batch whose results are in all sinks, not yet committed."""
        self._metrics.observe(summary)
        self._scores += summary.scores
        self._rejects += summary.rejects
        log.info(
            "batch",
            batch_id=summary.batch_id,
            messages=summary.messages,
            rejects=summary.rejects,
            transactions=summary.transactions,
            rate=round(summary.rate, 1),
            seconds=round(summary.seconds, 3),
        )
        self._rate = summary.rate
        self._line.show(f"{summary.rate:,.0f} messages/s · {self._counts()}")

    def onQueryStarted(self, event: QueryStartedEvent) -> None:
        log.info("stream_started", run_id=str(event.id))

    def onQueryProgress(self, event: QueryProgressEvent) -> None:
        report_progress()
        source = event.progress.sources[0]
        end, latest = _offsets(source.endOffset), _offsets(source.latestOffset)
        lag = sum(latest[p] - end.get(p, 0) for p in latest)
        if latest:
            self._metrics.lag.set(lag)
        self._line.show(f"{self._rate:,.0f} messages/s · lag {lag:,} · {self._counts()}")
        self._commit_group(event.progress)

    def onQueryIdle(self, _event: QueryIdleEvent) -> None:
        self._metrics.lag.set(0)
        self._line.show(f"up to date · {self._counts()}")

    def onQueryTerminated(self, _event: QueryTerminatedEvent) -> None:
        self._ended.set()

    def wait_for_the_end(self) -> None:
        """Wait until all that Spark has to tell has been heard; it lags behind the query."""
        if not self._ended.wait(END_SECONDS):
            log.warning("last_offsets_not_committed_to_group")

    def _commit_group(self, progress: StreamingQueryProgress) -> None:
        """Commit the offsets that the checkpoint holds to the consumer group."""
        end = _offsets(progress.sources[0].endOffset)
        if not end:
            return
        try:
            self._cluster.commit_group(self._cluster.settings.kafka_input_topic, end)
        except KafkaError as error:
            log.warning("group_not_committed", reason=str(error))

    def _counts(self) -> str:
        return f"{self._scores:,} scores · {self._rejects:,} rejects"


def _offsets(text: str | None) -> Offsets:
    """Offsets by partition from Spark's JSON, `{topic: {partition: offset}}`."""
    # PySpark turns a null into the text None: a repeated batch does not ask for the latest offsets.
    if text in {None, "", "null", "None"}:
        return {}
    partitions: dict[str, int] = next(iter(json.loads(str(text)).values()))
    return {int(p): offset for p, offset in partitions.items()}
