"""Why a query failed, in one line where the cause is known."""

from __future__ import annotations

from pyspark.errors import StreamingQueryException

from scorestream.infra.errors import (
    KafkaError,
    LostOffsetsError,
    OffsetsGoneError,
    ScorestreamError,
)
from scorestream.infra.spark import compat_texts
from scorestream.infra.spark.remote_errors import marked_error


def explained_failure(
    error: StreamingQueryException, cancelled: str | None = None
) -> ScorestreamError:
    """A failed query in one clear line, where its cause is a known one.

    Args:
        error: as Spark raised it.
        cancelled: why the watchdog cancelled a stage, if it did.
    """
    text = str(error)
    ours = marked_error(text)
    if isinstance(ours, OffsetsGoneError) or compat_texts.says_lost_offsets(text):
        return LostOffsetsError(
            "offsets that were not processed yet are gone from the input topic (aged out, or the "
            "topic was deleted or recreated): nothing was skipped; see docs/troubleshooting.md"
        )
    planning = compat_texts.kafka_client_reason(text)
    if planning is not None:
        return KafkaError(f"no batch can be planned: {planning}; check the broker, start again")
    return ours or ScorestreamError(f"the stream failed: {_reason(text, cancelled)}")


def _reason(text: str, cancelled: str | None) -> str:
    """What Python raised; else why a task was given up; else what Spark says first."""
    if (raised := compat_texts.python_error(text)) is not None:
        return raised
    if cancelled is not None:
        return f"{cancelled}; see docs/troubleshooting.md"
    if compat_texts.says_worker_crashed(text):
        return (
            "the Python worker of a task ended at every attempt: out of memory, killed, or a crash "
            "of a library; see docs/troubleshooting.md"
        )
    return text.strip().splitlines()[0]
