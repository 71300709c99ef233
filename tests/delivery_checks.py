"""What must hold after any run of the stream, whatever befell it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from golden import differences, golden_wallets
from installation import Installation, Published, offsets_of
from message_schemas import validator


@dataclass(frozen=True)
class Delivered:
    """What a run of the stream came to, every invariant kept.

    Attributes:
        scores: rows of `scores`.
        rejects: rows of `rejects`.
        repeated: messages that the result topics hold once more.
    """

    scores: int
    rejects: int
    repeated: int


def check_delivery(
    installation: Installation, others: Mapping[tuple[str, int], dict[str, Any]] = {}
) -> Delivered:
    """Check all invariants of a run over golden wallets, others, and broken messages.

    1. Input offsets = scores ∪ rejects, disjoint, each once; Kafka equals Delta.
    2. Every transaction of a scored message is in `transactions`, once.
    3. No score differs from the golden one, or from what is expected of the others, which are
       told by wallet and moment.
    """
    # 1.
    check_every_offset_once(installation)
    scores, rejects = installation.rows("scores"), installation.rows("rejects")
    # 2.
    if installation.settings.keeps_history:
        exploded = Counter(offsets_of(installation.rows("transactions")))
        counts = zip(offsets_of(scores), scores, strict=True)
        assert exploded == {at: n for at, row in counts if (n := row["transaction_count"])}
    # 3.
    expected = {(g.wallet, g.as_of): g.expected for g in golden_wallets()} | dict(others)
    for row in scores:
        assert differences(row, expected[row["wallet_address"], row["as_of"]]) == []
    settings = installation.settings
    topics = (settings.kafka_success_topic, settings.kafka_failure_topic)
    published = sum(sum(installation.cluster.end_offsets(topic).values()) for topic in topics)
    return Delivered(len(scores), len(rejects), published - len(scores) - len(rejects))


def check_every_offset_once(installation: Installation) -> None:
    """Input offsets = scores ∪ rejects, disjoint, each once; Kafka equals Delta."""
    scores, rejects = installation.rows("scores"), installation.rows("rejects")
    stored = Counter(offsets_of(scores) + offsets_of(rejects))
    assert set(stored) == installation.offsets()
    assert set(stored.values()) <= {1}
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
