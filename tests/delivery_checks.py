"""What must hold after any run of the stream, whatever befell it."""

from __future__ import annotations

from collections import Counter
from typing import Any

from installation import Installation, Published, offsets_of
from message_schemas import validator


def check_every_offset_once(installation: Installation) -> None:
    """Input offsets = scores ∪ rejects, disjoint, each once; Kafka equals Delta."""
    scores, rejects = installation.rows("scores"), installation.rows("rejects")
    stored = Counter(offsets_of(scores) + offsets_of(rejects))
    assert set(stored) == installation.offsets()
    assert set(stored.values()) == {1}
    settings = installation.settings
    for topic, rows, schema in (
        (settings.kafka_success_topic, scores, "wallet-scores-success"),
        (settings.kafka_failure_topic, rejects, "wallet-scores-failure"),
    ):
        messages = installation.messages(topic)
        assert [list(validator(schema).iter_errors(m.value)) for m in messages] == [[]] * len(
            messages
        )
        check_kafka_equals(messages, rows)


def check_kafka_equals(messages: list[Published], rows: list[dict[str, Any]]) -> None:
    """Messages, repeated ones dropped by their source, say what the rows of the table say."""
    by_source = {m.headers["source"].decode(): m for m in messages}
    assert set(by_source) == {source_of(row) for row in rows}
    for row in rows:
        published = by_source[source_of(row)]
        message = published.value
        source = message["source"]
        assert f"{source['topic']}/{source['partition']}/{source['offset']}" == source_of(row)
        assert message["wallet_address"] == row["wallet_address"]
        assert message["processing_time_ms"] == row["processing_time_ms"]
        [category] = message["categories"]
        assert category["transaction_count"] == row["transaction_count"]
        if "zscore" in row:
            check_score_message(published, row)
        else:
            assert (message["error"], category["error"]) == (row["error"], row["error"])


def check_score_message(published: Published, row: dict[str, Any]) -> None:
    message = published.value
    assert published.key == row["wallet_address"].encode()
    assert message["zscore"] == f"{row['zscore']:.18f}"
    for name in ("tags", "breakdown", "scoring", "config_hash", "as_of"):
        assert message[name] == row[name], name
    [category] = message["categories"]
    parts = {name: row[name] for name in ("lp_score", "swap_score", "final_score")}
    assert category["features"] == row["features"] | parts
    assert category["score"] == row["final_score"]
    assert published.headers["scoring"] == b"dex-v1"


def source_of(row: dict[str, Any]) -> str:
    return f"{row['source_topic']}/{row['source_partition']}/{row['source_offset']}"
