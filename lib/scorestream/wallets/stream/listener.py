"""Progress of the stream of scores: log lines, metrics, and a live line on a terminal."""

from __future__ import annotations

import structlog

from scorestream.infra.delivery.listener import ProgressLine, StreamListener
from scorestream.infra.kafka.cluster import KafkaCluster
from scorestream.wallets.stream.metrics import BatchSummary, StreamMetrics

log = structlog.get_logger()


class ScoreListener(StreamListener):
    """Follows the progress of the stream of scores."""

    def __init__(
        self, cluster: KafkaCluster, topic: str, line: ProgressLine, metrics: StreamMetrics
    ) -> None:
        super().__init__(cluster, topic, line)
        self._metrics = metrics
        self._scores = self._rejects = 0
        self._rate = 0.0

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
        self.line.show(f"{summary.rate:,.0f} messages/s · {self._counts()}")

    def progressed(self, lag: int | None) -> None:
        """A batch is committed."""
        if lag is not None:
            self._metrics.lag.set(lag)
        self.line.show(f"{self._rate:,.0f} messages/s · lag {lag or 0:,} · {self._counts()}")

    def up_to_date(self) -> None:
        """There is nothing to do."""
        self._metrics.lag.set(0)
        self.line.show(f"up to date · {self._counts()}")

    def _counts(self) -> str:
        return f"{self._scores:,} scores · {self._rejects:,} rejects"
