"""What is published of the results: the tables, and their topics."""

from __future__ import annotations

from scorestream.infra.config.settings import Settings
from scorestream.infra.delivery.stream import Publication
from scorestream.wallets.execution.result_messages import failure_records, success_records
from scorestream.wallets.schema.tables import REJECTS, SCORES


def result_publications(settings: Settings) -> tuple[Publication, ...]:
    """Scores to the success topic, then rejects to the failure topic."""
    return (
        Publication(SCORES, settings.kafka_success_topic, success_records),
        Publication(REJECTS, settings.kafka_failure_topic, failure_records),
    )
