"""What the stream tells of itself: a summary of each batch, and Prometheus metrics."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import structlog
from prometheus_client import CollectorRegistry, Gauge, Histogram, start_http_server
from prometheus_client import Counter as PrometheusCounter
from prometheus_client.core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from scorestream.infra.config.settings import Settings
from scorestream.wallets.execution.scoring_task import AGE_STEP_SECONDS, ScoringReport
from scorestream.wallets.predictors.batch_models import ModelUse
from scorestream.wallets.predictors.events import FailureKind

log = structlog.get_logger()

LATENCY_BUCKETS: Final = (0.25, 0.5, 1, 2, 4, 6, 10, 30, 60, 300, 1800, 3600)
BATCH_BUCKETS: Final = (0.25, 0.5, 1, 2, 4, 8, 16, 32, 64, 128, 256)


@dataclass(frozen=True)
class BatchSummary:
    """A micro-batch in numbers.

    Attributes:
        messages: messages scored or rejected.
        scores: scores of messages, of each scoring one.
        rejects_by_code: rejects of messages, by error code.
        transactions: dexes transactions of the messages that count.
        ages: seconds from a record's timestamp to the end of the batch, with how many have it.
        seconds: duration of the batch.
        late: transactions that an earlier message of their wallet should have counted.
        corrected: transactions that came again with another content.
    """

    messages: int
    scores: int
    rejects_by_code: Mapping[str, int]
    transactions: int
    ages: Mapping[float, int]
    batch_id: int
    seconds: float
    late: int = 0
    corrected: int = 0

    @property
    def rejects(self) -> int:
        """Rejects of messages."""
        return sum(self.rejects_by_code.values())

    @property
    def rate(self) -> float:
        """Messages a second."""
        return self.messages / self.seconds if self.seconds else 0.0

    @classmethod
    def of(cls, reports: Iterable[ScoringReport], batch_id: int, seconds: float) -> BatchSummary:
        """A batch whose results are in all sinks, from what its tasks report."""
        messages = scores = transactions = late = corrected = 0
        rejects: Counter[str] = Counter()
        ages: Counter[float] = Counter()
        for report in reports:
            messages += report.messages
            scores += report.scores
            transactions += report.transactions
            late += report.late
            corrected += report.corrected
            rejects.update(report.rejects)
            for step, messages in report.ages.items():
                # Ages are as of the start of the batch; the results came at its end.
                ages[step * AGE_STEP_SECONDS + seconds] += messages
        return cls(
            messages, scores, rejects, transactions, ages, batch_id, seconds, late, corrected
        )


class _LatencyHistogram(Collector):
    """A histogram that takes counts; the client library's own takes single observations only."""

    def __init__(self) -> None:
        self._counts = dict.fromkeys((*LATENCY_BUCKETS, float("inf")), 0)
        self._sum = 0.0
        self._lock = threading.Lock()

    def add(self, seconds: float, count: int) -> None:
        with self._lock:
            self._sum += seconds * count
            for bucket in self._counts:
                if seconds <= bucket:
                    self._counts[bucket] += count

    def collect(self) -> Iterable[Metric]:
        with self._lock:
            buckets = [
                ("+Inf" if b == float("inf") else str(b), n) for b, n in self._counts.items()
            ]
            total = self._sum
        family = HistogramMetricFamily(
            "scorestream_end_to_end_latency_seconds",
            "From the record's timestamp until its result was in all sinks",
        )
        family.add_metric([], buckets, total)
        yield family


class StreamMetrics:
    """The metrics of one stream; names follow Prometheus' conventions."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.messages = self._counter("messages", "Messages read from the input topic")
        self.scores = self._counter("scores", "Messages scored")
        self.rejects = self._counter("rejects", "Messages rejected, by error code", ["code"])
        self.transactions = self._counter("transactions", "Transactions of messages that count")
        self.late = self._counter("late_transactions", "Transactions that came late")
        self.corrected = self._counter("corrected_transactions", "Transactions that came changed")
        self.batches = Histogram(
            "scorestream_batch_duration_seconds",
            "Duration of a micro-batch from its start to the last sink",
            buckets=BATCH_BUCKETS,
            registry=self.registry,
        )
        self.lag = Gauge(
            "scorestream_consumer_lag_messages",
            "Messages of the input topic that are not yet processed",
            registry=self.registry,
        )
        self.last_success = Gauge(
            "scorestream_last_success_timestamp_seconds",
            "When the last micro-batch was done, unix seconds",
            registry=self.registry,
        )
        self.model_alarms = self._gauge(
            "model_alarm", "1: a model fails, or what serves is not what the registry names"
        )
        self.model_versions = self._gauge(
            "model_version", "Which version of a model serves; 0: none"
        )
        self.model_failures = self._counter(
            "model_failures",
            "Versions of models that could not be had, loaded or applied",
            ["model", "kind"],
        )
        self.model_wallets = self._counter("model_wallets", "Wallets judged by a model", ["model"])
        self.model_lacking = self._counter(
            "model_lacking", "Wallets that a model was given and has no value for", ["model"]
        )
        self.model_seconds = self._counter("model_seconds", "Time in calls of a model", ["model"])
        self.latency = _LatencyHistogram()
        self.registry.register(self.latency)

    def _counter(self, name: str, text: str, labels: Iterable[str] = ()) -> PrometheusCounter:
        return PrometheusCounter(f"scorestream_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str) -> Gauge:
        """A gauge of each registered model."""
        return Gauge(f"scorestream_{name}", text, ["model"], registry=self.registry)

    def version_activated(self, name: str, version: str | None) -> None:
        """A version is active from now on; None: the model has no active version."""
        self.model_versions.labels(name).set(float(version or 0))

    def alarm_changed(self, name: str, *, is_on: bool) -> None:
        """The alarm is on while the active version fails, or is not the one in the registry."""
        self.model_alarms.labels(name).set(is_on)

    def version_failed(self, name: str, kind: FailureKind) -> None:
        """A version could not be resolved, loaded or applied."""
        self.model_failures.labels(name, kind).inc()

    def version_used(self, use: ModelUse) -> None:
        """A version was called."""
        self.model_seconds.labels(use.version.name).inc(use.seconds)
        self.model_lacking.labels(use.version.name).inc(use.lacking)
        if use.problem is None:
            self.model_wallets.labels(use.version.name).inc(use.wallets - use.lacking)

    def observe(self, summary: BatchSummary) -> None:
        """Count a batch whose results are in all sinks."""
        self.messages.inc(summary.messages)
        self.scores.inc(summary.scores)
        self.transactions.inc(summary.transactions)
        self.late.inc(summary.late)
        self.corrected.inc(summary.corrected)
        for code, count in summary.rejects_by_code.items():
            self.rejects.labels(code).inc(count)
        for seconds, count in summary.ages.items():
            self.latency.add(seconds, count)
        self.batches.observe(summary.seconds)
        self.last_success.set_to_current_time()

    def serve(self, settings: Settings) -> None:
        """Offer the metrics on METRICS_PORT (0: not at all); a taken port is only a warning."""
        if settings.metrics_port == 0:
            return
        try:
            start_http_server(settings.metrics_port, settings.host, self.registry)
        except OSError as error:
            log.warning("metrics_unavailable", port=settings.metrics_port, reason=str(error))
