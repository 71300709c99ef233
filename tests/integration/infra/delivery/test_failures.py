"""What a failed query says, and whether a restart may mend it."""

from __future__ import annotations

import pytest
from pyspark.errors import StreamingQueryException

from scorestream.infra.delivery.failures import explained_failure
from scorestream.infra.errors import (
    CheckpointError,
    KafkaError,
    LostOffsetsError,
    OffsetsGoneError,
    ScorestreamError,
)
from scorestream.infra.spark.remote_errors import marker

TIMEOUT = "org.apache.kafka.common.errors.TimeoutException: Timed out."
CASES = [
    (marker(KafkaError("no answer")), KafkaError, "no answer", 1),
    (marker(CheckpointError("other topic")), CheckpointError, "other topic", 3),
    (
        marker(OffsetsGoneError("offsets 1 to 3 of t are gone")),
        LostOffsetsError,
        "nothing was skipped",
        3,
    ),
    ("[KAFKA_DATA_LOSS.X] some", LostOffsetsError, "nothing was skipped", 3),
    (f"[STREAM_FAILED] exception: {TIMEOUT} SQLSTATE: X", KafkaError, "planned: Timed out.; ch", 1),
    ("OSError: no space", ScorestreamError, "the stream failed: OSError: no space", 1),
    ("what nobody expected", ScorestreamError, "the stream failed: what nobody expected", 1),
]


@pytest.mark.parametrize(("line", "kind", "text", "code"), CASES)
def test_a_failure_of_the_query_keeps_its_class_and_its_exit_code(
    line: str, kind: type[ScorestreamError], text: str, code: int
) -> None:
    told = explained_failure(StreamingQueryException(f"{line}\n\tat somewhere"))
    assert type(told) is kind
    assert text in str(told)
    assert told.exit_code == code
