"""What must hold after any run of the stream, whatever befell it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

from scorestream.infra.kafka.producer import Record
from scorestream.wallets.core.wallet_keys import wallet_key
from tools.testkit.expectations import (
    Expected,
    Row,
    core_results,
    find_differences,
    golden_message,
    offset_of,
    result_code,
)
from tools.testkit.installation import (
    Input,
    Installation,
    Offset,
    Published,
    offsets_of,
)
from tools.testkit.message_schemas import validator
from tools.testkit.records import records_of

AS_DEX_V1 = Expected()


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


@dataclass
class Collected:
    """What went in, and all that came out.

    Attributes:
        topic: the input topic.
        offsets: all that it had.
        inputs: its messages.
        transactions: rows of the table; None where the history is not kept.
        successes: messages of the success topic.
        failures: messages of the failure topic.
    """

    topic: str
    offsets: set[Offset]
    inputs: dict[Offset, Input]
    scores: list[dict[str, Any]]
    rejects: list[dict[str, Any]]
    transactions: list[dict[str, Any]] | None
    successes: list[Published]
    failures: list[Published]

    def streamed(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Rows that came of the input topic, and of no backfill."""
        return [row for row in rows if row["source_topic"] == self.topic]

    @property
    def answered(self) -> list[dict[str, Any]]:
        """Rows of the input topic's messages."""
        return self.streamed([*self.scores, *self.rejects])

    @property
    def elsewhere(self) -> list[dict[str, Any]]:
        """Rows of messages that a backfill read."""
        rows = chain(self.scores, self.rejects)
        return [row for row in rows if row["source_topic"] != self.topic]


def collect(installation: Installation) -> Collected:
    """All of an installation that is checked."""
    settings = installation.settings
    success = [settings.kafka_success_topic, *installation.other_success_topics]
    return Collected(
        installation.input_topic,
        installation.offsets(),
        installation.inputs(),
        installation.rows("scores"),
        installation.rows("rejects"),
        installation.rows("transactions") if settings.keeps_history else None,
        [message for topic in success for message in installation.messages(topic)],
        installation.messages(settings.kafka_failure_topic),
    )


def check_delivery(installation: Installation, expected: Expected = AS_DEX_V1) -> Delivered:
    """Check all invariants of a run over golden wallets and other messages."""
    return check(collect(installation), expected)


def check_every_offset_once(installation: Installation) -> None:
    """Check that input offsets = scores ∪ rejects, disjoint, each once; Kafka equals Delta."""
    check_offsets_and_topics(collect(installation))


def check(collected: Collected, expected: Expected = AS_DEX_V1) -> Delivered:
    """Check all invariants.

    1. Input offsets = scores ∪ rejects, disjoint, each once; Kafka equals Delta.
    2. Each row is what must come of the message at its offset: the golden score, what the core
       gives, or the reject that the core gives.
    3. Every transaction of a message that is scored, or not yet, is in `transactions`, once.
    """
    # 1. Input offsets, and Kafka.
    check_offsets_and_topics(collected, expected)
    # 2. Rows.
    inputs = {offset_of(row): collected.inputs[offset_of(row)] for row in collected.answered}
    pairs = [(row, inputs[offset_of(row)]) for row in collected.answered]
    results = core_results(pairs, expected)
    wrong = [
        f"{source_of(row)}: {text}"
        for (row, message), core in zip(pairs, results, strict=True)
        for text in chain(
            _wrong_source(row, message), find_differences(row, message, core, expected)
        )
    ]
    wrong += _wrong_elsewhere(collected, expected)
    assert wrong == [], (len(wrong), wrong[:20])
    # 3. Transactions.
    if collected.transactions is not None:
        check_transactions(collected, results, expected)
    scores, rejects = len(collected.scores), len(collected.rejects)
    published = len(collected.successes) + len(collected.failures)
    return Delivered(scores, rejects, published - scores - rejects)


def _wrong_source(row: Row, message: Input) -> Iterator[str]:
    """What a row says of the record that it came of, and is not so."""
    [expected_time] = records_of([Record(None, None, message.timestamp)]).storable_timestamps
    if round(row["source_timestamp"].timestamp() * 1000) != expected_time:
        yield f"source_timestamp: {row['source_timestamp']}, not {message.timestamp}"
    if "value" in row and (row["key"], row["value"]) != (message.key, message.value):
        yield "key or value is not the message's"


def _wrong_elsewhere(collected: Collected, expected: Expected) -> list[str]:
    """What of a backfill's rows, which are of golden messages, is wrong."""
    pairs = [(row, golden_message(row)) for row in collected.elsewhere]
    unknown = [f"{source_of(row)}: no golden wallet" for row, message in pairs if message is None]
    known = [(row, message) for row, message in pairs if message is not None]
    results = core_results(known, expected)
    return unknown + [
        f"{source_of(row)}: {text}"
        for (row, message), core in zip(known, results, strict=True)
        for text in find_differences(row, message, core, expected)
    ]


def check_transactions(collected: Collected, results: list[Row], expected: Expected) -> None:
    """Every transaction of a message that is scored, or not yet, is there, once.

    Args:
        collected: all of an installation.
        results: what the core gives for each row of the input topic's messages.
        expected: which messages have no transactions.
    """
    exploded = Counter(offsets_of(collected.streamed(collected.transactions or [])))
    counts = {
        offset_of(row): core["transaction_count"]
        for row, core in zip(collected.answered, results, strict=True)
        if result_code(row) == "score" or expected.is_early(row)
        if offset_of(row) not in expected.without_history
    }
    due = Counter({at: count for at, count in counts.items() if count})
    assert exploded == due, f"lost {due - exploded}, made up {exploded - due}"


def check_offsets_and_topics(collected: Collected, expected: Expected = AS_DEX_V1) -> None:
    """Input offsets = scores ∪ rejects, disjoint, each once; Kafka equals Delta."""
    stored = Counter(offsets_of(collected.answered))
    offsets = collected.offsets
    assert set(stored) == offsets, f"lost {offsets - set(stored)}, made up {set(stored) - offsets}"
    assert set(stored.values()) <= {1}, f"not once: {stored - Counter(set(stored))}"
    for messages, rows, schema in (
        (collected.successes, collected.scores, "wallet-scores-success"),
        (collected.failures, collected.rejects, "wallet-scores-failure"),
    ):
        problems = [e for m in messages for e in validator(schema).iter_errors(m.value)]
        assert problems == []
        check_kafka_equals(messages, rows, expected)


def check_kafka_equals(
    messages: list[Published], rows: list[dict[str, Any]], expected: Expected = AS_DEX_V1
) -> None:
    """Messages, each repeated one too, say what the rows of the table say."""
    stored = {(source_of(row), row["scoring"]): row for row in rows}
    last = {_answer(message): message for message in messages}
    assert set(last) == set(stored), f"only on one side: {set(last) ^ set(stored)}"
    for message in messages:
        row = stored[_answer(message)]
        _check_message(message, row)
        if offset_of(row) not in expected.made_anew or message is last[_answer(message)]:
            _check_moment(message, row)
        if "zscore" in row:
            _check_score_message(message, row)
        else:
            _check_failure_message(message, row)


def _answer(published: Published) -> tuple[str, str | None]:
    """Of which message it is, and of which scoring."""
    return published.headers["source"].decode(), published.value.get("scoring")


def _check_message(published: Published, row: dict[str, Any]) -> None:
    """What scores and failures have alike."""
    message, wallet = published.value, row["wallet_address"]
    source = message["source"]
    assert f"{source['topic']}/{source['partition']}/{source['offset']}" == source_of(row)
    assert published.key == (None if wallet is None else wallet_key(wallet).encode())
    for name in ("wallet_address", "as_of"):
        assert message[name] == row[name], name
    [category] = message["categories"]
    assert category["transaction_count"] == row["transaction_count"]


def _check_moment(published: Published, row: dict[str, Any]) -> None:
    """A message was made when the row was."""
    assert published.value["processing_time_ms"] == row["processing_time_ms"], "processing_time_ms"
    made_at = row["scored_at"] if "zscore" in row else row["rejected_at"]
    assert published.value["timestamp"] == int(made_at.timestamp())


def _check_score_message(published: Published, row: dict[str, Any]) -> None:
    message = published.value
    assert message["zscore"] == f"{row['zscore']:.18f}"
    for name in ("tags", "breakdown", "scoring", "config_hash"):
        assert message[name] == row[name], name
    [category] = message["categories"]
    parts = {name: row[name] for name in ("lp_score", "swap_score", "final_score")}
    assert category["features"] == row["features"] | parts
    assert category["score"] == row["final_score"]
    assert published.headers["scoring"] == row["scoring"].encode()


def _check_failure_message(published: Published, row: dict[str, Any]) -> None:
    message = published.value
    [category] = message["categories"]
    assert (message["error"], category["error"]) == (row["error"], row["error"])
    assert message["error_code"] == row["error_code"]


def source_of(row: Row) -> str:
    return f"{row['source_topic']}/{row['source_partition']}/{row['source_offset']}"
