"""What must hold after any run of the stream, whatever befell it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from golden import SCORED_COLUMNS, differences, golden_wallets, results
from installation import Installation, Published, offsets_of
from message_schemas import validator
from scorestream.core.dex_v1 import DexV1
from scorestream.core.pipeline import score_messages


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


# What is wrong with rows of `scores`.
Differences = Callable[[Installation, list[dict[str, Any]]], list[str]]


def golden_differences(_: Installation, scores: list[dict[str, Any]]) -> list[str]:
    """What differs from the golden scores."""
    expected = {(g.wallet, g.as_of): g.expected for g in golden_wallets()}
    return [
        wrong
        for row in scores
        for wrong in differences(row, expected[row["wallet_address"], row["as_of"]])
    ]


def differences_from_core(
    models: Sequence[DexV1], installation: Installation, scores: list[dict[str, Any]]
) -> list[str]:
    """What differs from what the core gives for the message, which holds the wallet's whole list.

    Args:
        models: among which each row names its own by `config_hash`.
        installation: where the messages are.
        scores: rows.
    """
    by_hash = {model.config_hash: model for model in models}
    topic = installation.input_topic
    ends = installation.cluster.end_offsets(topic)
    messages = {
        (m.partition(), m.offset()): m for m in installation.cluster.consume(topic, None, ends)
    }
    wrong = []
    for at, row in zip(offsets_of(scores), scores, strict=True):
        as_of = np.array([messages[at].timestamp()[1] // 1000])
        scored = score_messages([messages[at].value()], as_of, by_hash[row["config_hash"]], False)
        [expected] = results(scored)
        names = [name for name in SCORED_COLUMNS if name in expected]
        wrong += [f"{at}: {name}" for name in names if row[name] != expected[name]]
    return wrong


def check_delivery(
    installation: Installation, wrong: Differences = golden_differences
) -> Delivered:
    """Check all invariants of a run over golden wallets and broken messages.

    1. Input offsets = scores ∪ rejects, disjoint, each once; Kafka equals Delta.
    2. Every transaction of a scored message is in `transactions`, once.
    3. No score differs from the golden one, or from another that it is compared with.
    """
    # 1.
    published = check_every_offset_once(installation)
    scores, rejects = installation.rows("scores"), installation.rows("rejects")
    # 2.
    if installation.settings.keeps_history:
        exploded = Counter(offsets_of(_streamed(installation, "transactions")))
        streamed = _streamed(installation, "scores")
        counts = zip(offsets_of(streamed), streamed, strict=True)
        expected = Counter({at: n for at, row in counts if (n := row["transaction_count"])})
        assert exploded == expected, f"lost {expected - exploded}, made up {exploded - expected}"
    # 3.
    assert (differing := wrong(installation, scores)) == [], differing[:20]
    return Delivered(len(scores), len(rejects), published - len(scores) - len(rejects))


def check_every_offset_once(installation: Installation) -> int:
    """Input offsets = scores ∪ rejects, disjoint, each once; Kafka equals Delta.

    Returns:
        How many messages were published, repeated ones counted.
    """
    scores, rejects = installation.rows("scores"), installation.rows("rejects")
    streamed = (offsets_of(_streamed(installation, name)) for name in ("scores", "rejects"))
    stored = Counter(chain.from_iterable(streamed))
    offsets = installation.offsets()
    assert set(stored) == offsets, f"lost {offsets - set(stored)}, made up {set(stored) - offsets}"
    assert set(stored.values()) <= {1}, f"not once: {stored - Counter(set(stored))}"
    settings = installation.settings
    published = 0
    for topic, rows, schema in (
        (settings.kafka_success_topic, scores, "wallet-scores-success"),
        (settings.kafka_failure_topic, rejects, "wallet-scores-failure"),
    ):
        messages = installation.messages(topic)
        assert [list(validator(schema).iter_errors(m.value)) for m in messages] == [[]] * len(
            messages
        )
        check_kafka_equals(messages, rows)
        published += len(messages)
    return published


def _streamed(installation: Installation, table: str) -> list[dict[str, Any]]:
    """Rows that came of the input topic, and of no backfill."""
    rows, topic = installation.rows(table), installation.input_topic
    return [row for row in rows if row["source_topic"] == topic]


def check_kafka_equals(messages: list[Published], rows: list[dict[str, Any]]) -> None:
    """Messages, repeated ones dropped by their source, say what the rows of the table say."""
    by_source = {m.headers["source"].decode(): m for m in messages}
    sources = {source_of(row) for row in rows}
    assert set(by_source) == sources, f"only on one side: {set(by_source) ^ sources}"
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
