"""The checker of deliveries notices whatever is wrong with one."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pytest

from scorestream.infra.kafka.producer import Record
from scorestream.wallets.core.pipeline import Scored, reject_rows
from scorestream.wallets.core.scoring import Scoring
from scorestream.wallets.execution.result_messages import failure_records, success_records
from scorestream.wallets.execution.scoring_task import score_records, unscorable_rejects
from scorestream.wallets.execution.table_rows import BatchFacts, table_rows
from scorestream.wallets.schema.tables import REJECTS, SCORES
from tools.testkit.delivery_checks import Collected, Delivered, check
from tools.testkit.expectations import Expected
from tools.testkit.golden import broken_records, configured_scoring, golden_records
from tools.testkit.installation import Input, Published, offsets_of
from tools.testkit.records import records_of

GOLDEN = golden_records()[:6]
BROKEN = broken_records()[:5]
# A golden wallet at another moment, and no golden wallet at all.
OTHERS = [
    GOLDEN[0]._replace(timestamp=1_700_000_000_000),
    Record(
        b"k",
        b'{"wallet_address": "else", "data": [{"protocolType": "dexes", "transactions":'
        b' [{"document_id": "0", "action": "swap", "timestamp": 0}]}]}',
        5_000,
    ),
]
TIMELESS = [GOLDEN[1]._replace(timestamp=at) for at in (-1, 2**63 - 1)]
RECORDS = [*GOLDEN, *BROKEN, *OTHERS, *TIMELESS]


@pytest.fixture(scope="module")
def whole(scoring: Scoring) -> Collected:
    """What a faultless run comes to, one message published twice."""
    batch = records_of(RECORDS)
    facts = BatchFacts("run", 7, 1_767_323_045.25, code_version="1+test")
    [(scored, _)] = score_records([batch], (scoring,), include_transactions=True)
    rows = {table.name: made for table, made in table_rows(scored, batch, facts).items()}
    successes = published(success_records(rows["scores"]))
    return Collected(
        "in",
        {(0, offset) for offset in range(len(RECORDS))},
        {(0, i): Input(r.key, r.value, r.timestamp or 0) for i, r in enumerate(RECORDS)},
        rows["scores"].to_pylist(),
        rows["rejects"].to_pylist(),
        rows["transactions"].to_pylist(),
        [*successes, copy.deepcopy(successes[0])],
        published(failure_records(rows["rejects"])),
    )


def publish_again(found: Collected) -> None:
    """Have the topics say what the rows say."""
    scores = pa.Table.from_pylist(found.scores, schema=SCORES.columns)
    rejects = pa.Table.from_pylist(found.rejects, schema=REJECTS.columns)
    found.successes = published(success_records(scores))
    found.failures = published(failure_records(rejects))


def published(records: Iterator[Record]) -> list[Published]:
    return [Published(r.key, dict(r.headers), json.loads(r.value or b"")) for r in records]


@pytest.fixture
def found(whole: Collected) -> Collected:
    return copy.deepcopy(whole)


def test_a_faultless_delivery_passes(found: Collected) -> None:
    scores = len(GOLDEN) + len(OTHERS)
    assert check(found) == Delivered(scores, len(BROKEN) + len(TIMELESS), 1)


def exchange(found: Collected) -> None:
    """Two whole results, transactions and all, have each other's place."""
    places = ("source_offset", "source_timestamp")
    first, second = found.scores[0], found.scores[1]
    offsets = first["source_offset"], second["source_offset"]
    for name in places:
        first[name], second[name] = second[name], first[name]
    for row in found.transactions or []:
        if row["source_offset"] in offsets:
            row["source_offset"] = sum(offsets) - row["source_offset"]


def lose(found: Collected) -> None:
    found.scores.pop()


def lose_a_reject(found: Collected) -> None:
    found.rejects.pop()


def double(found: Collected) -> None:
    found.scores.append(found.scores[0])


def give_up(found: Collected) -> None:
    """A golden message is rejected as if its process had not survived it."""
    row = found.scores.pop(0)
    found.transactions = [
        t for t in found.transactions or [] if t["source_offset"] != row["source_offset"]
    ]
    found.rejects.append(given_up(RECORDS[row["source_offset"]], row))


def given_up(record: Record, score: dict[str, Any]) -> dict[str, Any]:
    batch = records_of([record], score["source_offset"])
    rejects = reject_rows(unscorable_rejects(batch, "it took longer than 5 s"), batch.as_of)
    scored = Scored.without_scores((configured_scoring(),), rejects, None)
    facts = BatchFacts("run", 7, 1_767_323_045.25, "1+test")
    [row] = table_rows(scored, batch, facts)[REJECTS].to_pylist()
    return dict(row)


def give_up_a_broken_one(found: Collected) -> None:
    found.rejects[0]["error_code"] = "unscorable"


def change_the_reason(found: Collected) -> None:
    found.rejects[1]["error_code"] = "invalid_type"


def score_a_broken_one(found: Collected) -> None:
    reject = found.rejects.pop(0)
    places = ("source_offset", "source_timestamp", "as_of")
    found.scores.append(found.scores[0] | {name: reject[name] for name in places})


def change_a_digit(found: Collected) -> None:
    row = found.scores[0]
    row["features"]["total_swap_volume"] *= 1 + 1e-15


def change_a_score(found: Collected) -> None:
    row = found.scores[-1]
    row["lp_score"] += 1e-6


def change_the_moment(found: Collected) -> None:
    found.scores[0]["as_of"] += 1


def change_the_constants(found: Collected) -> None:
    found.scores[0]["config_hash"] = "0" * 16


def change_raw_bytes(found: Collected) -> None:
    found.rejects[1]["value"] += b" "


def lose_a_transaction(found: Collected) -> None:
    assert found.transactions
    found.transactions.pop()


def double_a_transaction(found: Collected) -> None:
    assert found.transactions
    found.transactions.append(found.transactions[0])


Spoil = Callable[[Collected], None]
IN_TABLES: dict[Spoil, str] = {
    exchange: "wallet_address: ",
    lose: "lost",
    lose_a_reject: "lost",
    double: "not once",
    give_up: "unscorable, not score",
    give_up_a_broken_one: "unscorable, not null_value",
    change_the_reason: "invalid_type, not invalid_json",
    score_a_broken_one: "score, not null_value",
    change_a_digit: "features: ",
    change_a_score: "lp_score: ",
    change_the_moment: "as_of: ",
    change_the_constants: "config_hash: ",
    change_raw_bytes: "key or value is not",
    lose_a_transaction: "lost Counter",
    double_a_transaction: "made up Counter",
}


@pytest.mark.parametrize("spoil", IN_TABLES, ids=lambda spoil: spoil.__name__)
def test_what_is_wrong_in_the_tables_is_noticed(spoil: Spoil, found: Collected) -> None:
    spoil(found)
    # Kafka has it as the tables do: only the messages can tell.
    publish_again(found)
    with pytest.raises(AssertionError, match=IN_TABLES[spoil]):
        check(found)


def repeat_otherwise(found: Collected) -> None:
    found.successes[-1].value["tags"] = ["another"]


def repeat_otherwise_first(found: Collected) -> None:
    found.successes[0].value["tags"] = ["another"]


def lose_a_message(found: Collected) -> None:
    found.failures.pop()


def change_the_code(found: Collected) -> None:
    found.failures[1].value["error_code"] = "invalid_type"


def change_the_as_of(found: Collected) -> None:
    found.failures[1].value["as_of"] += 1


def change_the_key(found: Collected) -> None:
    found.failures[-1] = Published(b"another", found.failures[-1].headers, found.failures[-1].value)


def change_the_time(found: Collected) -> None:
    found.successes[0].value["timestamp"] += 1


def add_a_field(found: Collected) -> None:
    found.successes[0].value["more"] = 1


IN_TOPICS = [
    repeat_otherwise,
    repeat_otherwise_first,
    lose_a_message,
    change_the_code,
    change_the_as_of,
    change_the_key,
    change_the_time,
    add_a_field,
]


@pytest.mark.parametrize("spoil", IN_TOPICS, ids=lambda spoil: spoil.__name__)
def test_what_is_wrong_in_kafka_is_noticed(spoil: Spoil, found: Collected) -> None:
    spoil(found)
    with pytest.raises(AssertionError):
        check(found)


def test_only_named_wallets_may_be_unscorable(found: Collected) -> None:
    wallet = found.scores[0]["wallet_address"]
    give_up(found)
    publish_again(found)
    assert check(found, Expected(unscorable={wallet})).rejects == len(BROKEN) + len(TIMELESS) + 1
    with pytest.raises(AssertionError, match="unscorable, not score"):
        check(found, Expected(unscorable={"another"}))
    # Nor does the name alone excuse it.
    found.rejects[-1]["wallet_address"] = "another"
    publish_again(found)
    with pytest.raises(AssertionError, match="unscorable, not score"):
        check(found, Expected(unscorable={"another"}))


def test_scores_of_increments_are_somebody_elses_to_compare(found: Collected) -> None:
    change_a_score(found)
    publish_again(found)
    at = (0, found.scores[-1]["source_offset"])
    assert check(found, Expected(increments={at})).scores == len(found.scores)


def test_messages_without_history_have_no_transactions(found: Collected) -> None:
    found.transactions = []
    with pytest.raises(AssertionError, match="lost Counter"):
        check(found)
    check(found, Expected(without_history=found.offsets))


def test_of_rows_that_were_made_anew_the_last_message_counts(found: Collected) -> None:
    """The first message was published once more at the end, as the row now says."""
    found.successes[0].value["processing_time_ms"] += 1
    at = offsets_of(found.scores[:1])
    assert check(found, Expected(made_anew=at)).repeated == 1
    with pytest.raises(AssertionError, match="processing_time_ms"):
        check(found)
    found.successes[-1].value["timestamp"] += 1
    with pytest.raises(AssertionError):
        check(found, Expected(made_anew=at))
