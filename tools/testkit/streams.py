"""A stream in a test's own process: the test delivers the batches, not Spark's micro-batches."""

from __future__ import annotations

from collections.abc import Iterable

from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from pyspark.sql import SparkSession

from scorestream.infra.config.settings import Settings
from scorestream.infra.delivery.checkpoint import StreamState
from scorestream.infra.delivery.coverage import Coverage
from scorestream.infra.delivery.coverage_table import CoverageTable
from scorestream.infra.delivery.delivery import Delivery
from scorestream.infra.delivery.start import Start
from scorestream.infra.delta.warehouse import Warehouse
from scorestream.infra.kafka.connection import client_options
from scorestream.wallets.core.scoring import Scoring
from scorestream.wallets.execution.scoring_task import ScoringReport
from scorestream.wallets.predictors.active_models import ActiveModels
from scorestream.wallets.predictors.events import NoModelEvents
from scorestream.wallets.stream.declaration import score_stream
from scorestream.wallets.stream.metrics import BatchSummary
from scorestream.wallets.stream.transform import ScoreTransform
from tools.testkit.installation import Installation


def create_input_topic(installation: Installation, partitions: int) -> None:
    """Create the input topic of an installation."""
    admin = AdminClient(client_options(installation.settings))
    name = installation.input_topic
    admin.create_topics([NewTopic(name, partitions)])[name].result()


def open_coverage(warehouse: Warehouse, settings: Settings) -> CoverageTable:
    """Open the records of the stream of scores."""
    return CoverageTable(warehouse, score_stream(settings))


def start_over(
    warehouse: Warehouse, settings: Settings, partitions: Iterable[int] = range(4)
) -> Start:
    """A start after what is delivered, whatever checkpoint there was."""
    records, topic = open_coverage(warehouse, settings), settings.kafka_input_topic
    coverage = records.newest_confirmed(0) or Coverage(topic, "id")
    state = StreamState(topic=topic, topic_id="id")
    return Start.after(coverage, state, records, partitions=partitions)


def open_delivery(
    settings: Settings,
    spark: SparkSession,
    warehouse: Warehouse,
    *scorings: Scoring,
    code: str = "1",
    start: Start | None = None,
    active_models: ActiveModels | None = None,
) -> tuple[Delivery[ScoringReport], list[BatchSummary]]:
    """Open a delivery, and the list that gets the summary of each batch.

    Args:
        settings: of the stream.
        spark: runs its tasks.
        warehouse: gets its rows.
        scorings: what scores them.
        code: the code version.
        start: where it begins; default: after what is delivered.
        active_models: its predictors; default: none.
    """
    summaries: list[BatchSummary] = []
    transform = ScoreTransform(
        settings=settings,
        warehouse=warehouse,
        scorings=scorings,
        code_version=code,
        active_models=active_models or ActiveModels((), settings, NoModelEvents()),
        report=summaries.append,
    )
    start = start or start_over(warehouse, settings)
    return Delivery(spark=spark, settings=settings, start=start, transform=transform), summaries
