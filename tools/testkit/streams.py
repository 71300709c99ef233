"""A stream in a test's own process: the test delivers the batches, not Spark's micro-batches."""

from __future__ import annotations

from collections.abc import Iterable

from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from pyspark.sql import SparkSession

from scorestream.infra.config.settings import Settings
from scorestream.infra.delta.warehouse import Warehouse
from scorestream.infra.kafka.connection import client_options
from scorestream.wallets.core.pipeline import ScoringModel
from scorestream.wallets.predictors.active_models import ActiveModels
from scorestream.wallets.predictors.events import NoModelEvents
from scorestream.wallets.stream.checkpoint import StreamState
from scorestream.wallets.stream.coverage import Coverage, CoverageTable
from scorestream.wallets.stream.delivery import Delivery
from scorestream.wallets.stream.metrics import BatchSummary
from scorestream.wallets.stream.start import Start
from tools.testkit.installation import Installation


def create_input_topic(installation: Installation, partitions: int) -> None:
    """Create the input topic of an installation."""
    admin = AdminClient(client_options(installation.settings))
    name = installation.input_topic
    admin.create_topics([NewTopic(name, partitions)])[name].result()


def start_over(warehouse: Warehouse, topic: str, partitions: Iterable[int] = range(4)) -> Start:
    """A start after what is delivered, whatever checkpoint there was."""
    state = StreamState(topic=topic, topic_id="id")
    coverage = CoverageTable(warehouse, topic).believed(0) or Coverage(topic, "id")
    return Start.after(state, coverage, warehouse, partitions)


def open_delivery(
    settings: Settings,
    spark: SparkSession,
    warehouse: Warehouse,
    model: ScoringModel,
    *,
    code: str = "1",
    start: Start | None = None,
    active_models: ActiveModels | None = None,
) -> tuple[Delivery, list[BatchSummary]]:
    """Open a delivery, and the list that gets the summary of each batch.

    Args:
        settings: of the stream.
        spark: runs its tasks.
        warehouse: gets its rows.
        model: the scoring model.
        code: the code version.
        start: where it begins; default: after what is delivered.
        active_models: its predictors; default: none.
    """
    summaries: list[BatchSummary] = []
    delivery = Delivery(
        settings,
        spark,
        warehouse,
        model,
        code,
        start or start_over(warehouse, settings.kafka_input_topic),
        lambda _: None,
        summaries.append,
        lambda: None,
        active_models or ActiveModels((), settings, NoModelEvents()),
    )
    return delivery, summaries
