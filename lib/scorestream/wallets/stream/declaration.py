"""The declaration of the stream of scores."""

from __future__ import annotations

from scorestream.infra.config.settings import Settings
from scorestream.infra.delivery.stream import Stream
from scorestream.wallets.execution.published_results import result_publications
from scorestream.wallets.schema.tables import BATCH_TABLES, COVERAGE


def score_stream(settings: Settings) -> Stream:
    """Messages of wallets -> scores, rejects and transactions; scores and rejects are published."""
    return Stream(
        name="stream_scores",
        topic=settings.kafka_input_topic,
        tables=BATCH_TABLES,
        coverage=COVERAGE,
        publications=result_publications(settings),
    )
