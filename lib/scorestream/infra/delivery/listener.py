"""After every committed micro-batch: consumer group, lag, live line on a terminal."""

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
)
from rich.console import Console
from rich.status import Status

from scorestream.infra.cli.launcher import report_progress
from scorestream.infra.errors import KafkaError
from scorestream.infra.kafka.cluster import KafkaCluster, Offsets

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
        """Show a text in place of the one before."""
        if self._status:
            self._status.update(text)


class StreamListener(StreamingQueryListener):
    """Follows the query's progress; errors here are logged and never stop the stream."""

    def __init__(self, cluster: KafkaCluster, topic: str, line: ProgressLine) -> None:
        self._cluster = cluster
        self._topic = topic
        self.line = line
        self._ended = threading.Event()

    def progressed(self, lag: int | None) -> None:
        """A batch is committed; None: a repeated batch, whose lag is not known."""
        self.line.show(f"lag {lag or 0:,}")

    def up_to_date(self) -> None:
        """There is nothing to do."""
        self.line.show("up to date")

    def onQueryStarted(self, event: QueryStartedEvent) -> None:
        log.info("stream_started", run_id=str(event.id))

    def onQueryProgress(self, event: QueryProgressEvent) -> None:
        report_progress()
        source = event.progress.sources[0]
        end, latest = _offsets(source.endOffset), _offsets(source.latestOffset)
        lag = sum(latest[p] - end.get(p, 0) for p in latest)
        self.progressed(lag if latest else None)
        self._commit_group(end)

    def onQueryIdle(self, _event: QueryIdleEvent) -> None:
        self.up_to_date()

    def onQueryTerminated(self, _event: QueryTerminatedEvent) -> None:
        self._ended.set()

    def wait_for_the_end(self) -> None:
        """Wait for Spark's last event; events lag behind the query."""
        if not self._ended.wait(END_SECONDS):
            log.warning("last_offsets_not_committed_to_group")

    def _commit_group(self, end: Offsets) -> None:
        """Commit the offsets that the checkpoint holds to the consumer group."""
        if not end:
            return
        try:
            self._cluster.commit_group(self._topic, end)
        except KafkaError as error:
            log.warning("group_not_committed", reason=str(error))


def _offsets(text: str | None) -> Offsets:
    """Offsets by partition from Spark's JSON, `{topic: {partition: offset}}`."""
    # PySpark turns a null into the text None: a repeated batch does not ask for the latest offsets.
    if text in {None, "", "null", "None"}:
        return {}
    partitions: dict[str, int] = next(iter(json.loads(str(text)).values()))
    return {int(p): offset for p, offset in partitions.items()}
