"""Wallets over their history: what counts at a moment, against the plainest possible account."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from hypothesis import given, settings
from hypothesis import strategies as st

from scorestream.infra.kafka.records import Records, same_topic
from scorestream.wallets.core import schemas
from scorestream.wallets.core.decode import decode
from scorestream.wallets.core.history import (
    fixed_moments,
    message_moments,
    score_moments,
    wallet_history,
)
from scorestream.wallets.core.pipeline import score_messages
from scorestream.wallets.core.scoring import Scoring
from scorestream.wallets.core.wallet_keys import wallet_key
from scorestream.wallets.execution.decoded_batch import (
    DecodedBatch,
    concat_batches,
    split_by_wallet,
)
from scorestream.wallets.execution.history_lookup import wallet_rows
from scorestream.wallets.execution.incremental import score_increments
from scorestream.wallets.execution.table_rows import BatchFacts, table_rows
from scorestream.wallets.schema.tables import TRANSACTIONS
from tools.testkit.golden import results

WALLETS = ("0xA", "0xa", "bob")
TOO_MUCH = 1.7e308
NOTHING = {"document_id": "z", "action": "other", "timestamp": 200_000}
BROKEN = {"document_id": "a", "action": "swap", "timestamp": 0, "tokenIn": {"amountUSD": -1.0}}


@dataclass
class Message:
    """A message that carries what is new, and where it came from."""

    wallet: str
    partition: int
    moment: int
    transactions: list[dict[str, Any]]
    offset: int = 0

    @property
    def order(self) -> tuple[int, int, int]:
        return (self.moment, self.partition, self.offset)

    @property
    def value(self) -> bytes:
        return message_of(self.wallet, self.transactions)


def message_of(wallet: str, transactions: Sequence[dict[str, Any]]) -> bytes:
    data = [{"protocolType": "dexes", "transactions": list(transactions)}]
    return json.dumps({"wallet_address": wallet, "data": data}).encode()


@st.composite
def transactions(draw: st.DrawFn) -> dict[str, Any]:
    action = draw(st.sampled_from(["swap", "deposit", "withdraw", "other"]))
    legs = ("tokenIn", "tokenOut") if action == "swap" else ("token0", "token1")
    usd = st.sampled_from([0.0, 0.1, 17.5, 1e4, TOO_MUCH])
    symbols = st.sampled_from(["USDC", "WETH", None, ""])
    return {
        "document_id": draw(st.sampled_from("abcde")),
        "action": action,
        "timestamp": draw(st.integers(0, 12)) * 10_000,
        "poolId": draw(st.sampled_from(["p", "q", None])),
        **{leg: {"amountUSD": draw(usd), "symbol": draw(symbols)} for leg in legs},
    }


def messages(wallets: Sequence[str] = WALLETS, most: int = 4) -> st.SearchStrategy[Message]:
    """Messages of any moment, their transactions before and after it."""
    return st.builds(
        Message,
        st.sampled_from(wallets),
        st.integers(0, 1),
        st.integers(0, 12).map(lambda n: n * 10_000),
        st.lists(transactions(), min_size=1, max_size=most),
    )


@st.composite
def batches(draw: st.DrawFn) -> list[list[Message]]:
    """Messages in the order in which they come, some late, some of a wallet in one batch."""
    batch = st.lists(messages(), min_size=1, max_size=5)
    found = draw(st.lists(batch, min_size=1, max_size=4))
    for offset, each in enumerate(each for batch in found for each in batch):
        each.offset = offset
    return found


def records_of(messages: Sequence[Message]) -> Records:
    return Records(
        topics=same_topic("in", len(messages)),
        partitions=np.array([m.partition for m in messages], dtype=np.int32),
        offsets=np.array([m.offset for m in messages]),
        timestamps=np.array([m.moment * 1000 for m in messages]),
        attempts=np.zeros(len(messages), dtype=np.int32),
        keys=[None] * len(messages),
        values=[m.value for m in messages],
    )


@dataclass
class Plainly:
    """What is known of wallets, message by message, with a score or without."""

    scoring: Scoring
    known: list[Message] = field(default_factory=list)

    def score(self, batch: Sequence[Message]) -> dict[int, dict[str, Any]]:
        """Results by offset."""
        found = {}
        for message in sorted(batch, key=lambda m: m.order):
            [result] = results(
                score_messages(
                    [message_of(message.wallet, self.effective(message))],
                    np.array([message.moment]),
                    (self.scoring,),
                )
            )
            found[message.offset] = result
            self.known.append(message)
        return found

    def effective(self, message: Message) -> list[dict[str, Any]]:
        last: dict[str, dict[str, Any]] = {}
        ours = [m for m in self.known if wallet_key(m.wallet) == wallet_key(message.wallet)]
        for each in sorted([*ours, message], key=lambda m: m.order):
            if each.order > message.order:
                break
            for transaction in sorted(each.transactions, key=content):
                last[transaction["document_id"]] = transaction
        return [t for t in last.values() if t["timestamp"] <= message.moment]


def content(transaction: dict[str, Any]) -> tuple[Any, ...]:
    """What decides between transactions of one id in one message."""

    def text(value: str | None) -> tuple[bool, str]:
        return (value is not None, value or "")

    used = transaction["action"] != "other"
    legs = [
        transaction.get("tokenIn") or transaction["token0"],
        transaction.get("tokenOut") or transaction["token1"],
    ]
    return (
        transaction["timestamp"],
        transaction["action"],
        text(transaction["poolId"]),
        *(leg["amountUSD"] if used else 0.0 for leg in legs),
        *(text(leg["symbol"]) if used else (True, "") for leg in legs),
    )


def without_origin(result: dict[str, Any]) -> dict[str, Any]:
    """What a result says, but for whence: its rows, and the words for nothing at all."""
    kept = {k: v for k, v in result.items() if k not in {"transactions", "transaction_count"}}
    if "error" in kept:
        del kept["error"]
        kept["error_code"] = kept["error_code"].replace("no_transactions", "nothing_yet")
    return kept


@dataclass
class Store:
    """What `transactions` holds, batch by batch."""

    scoring: Scoring
    stored: pa.Table = field(default_factory=TRANSACTIONS.columns.empty_table)
    batches: int = 0

    def take(self, batch: Sequence[Message], buckets: int = 1) -> dict[int, dict[str, Any]]:
        """Score a batch, and keep what it brings; results by offset."""
        found: dict[int, dict[str, Any]] = {}
        taken = [self.stored]
        facts = BatchFacts("run", self.batches, 0.0, code_version="1")
        for piece in pieces(batch, buckets):
            done = score_increments(piece, partial(looked_up, self.stored), (self.scoring,))
            found |= zip(done.records.offsets.tolist(), results(done.scored), strict=True)
            taken.append(table_rows(done.scored, done.records, facts)[TRANSACTIONS])
        self.stored = pa.concat_tables(taken)
        self.batches += 1
        return found

    def scored_again(self) -> list[dict[str, Any]]:
        """Every message at its moment, as a backfill of the history scores it."""
        history = wallet_history(wallet_rows(self.stored))
        done = list(score_moments(history, message_moments(history), (self.scoring,)))
        return sorted(
            (
                row
                for part in done
                for table in (part.scores, part.rejects)
                for row in rows_of(table)
            ),
            key=repr,
        )


def rows_of(table: pa.Table) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = table.drop_columns(["position"]).to_pylist()
    return rows


@settings(max_examples=150, deadline=None)
@given(coming=batches(), buckets=st.integers(1, 3))
def test_increments_are_scored_as_the_whole_history_would_be(
    scoring: Scoring, coming: list[list[Message]], buckets: int
) -> None:
    plainly, store = Plainly(scoring), Store(scoring)
    for batch in coming:
        expected, found = plainly.score(batch), store.take(batch, buckets)
        assert {k: without_origin(v) for k, v in found.items()} == {
            k: without_origin(v) for k, v in expected.items()
        }


@st.composite
def arrivals(draw: st.DrawFn) -> tuple[list[Message], list[list[Message]]]:
    """Messages in the order of their moments, and how they come: in any order, some repeatedly."""
    sent = draw(st.lists(messages(WALLETS[:2], 2), min_size=2, max_size=5))
    for message in draw(st.lists(st.sampled_from(sent), max_size=2)):
        # Sent again: the same bytes and moment at another offset.
        sent.append(
            Message(message.wallet, message.partition, message.moment, message.transactions)
        )
    sent.append(Message(WALLETS[0], 0, 0, [BROKEN]))
    for offset, each in enumerate(sent):
        each.offset = offset
    again = draw(st.lists(st.sampled_from(sent), max_size=3))
    order = draw(st.permutations([*sent, *again]))
    cuts = sorted(draw(st.lists(st.integers(0, len(order)), max_size=4)))
    parts = [order[a:b] for a, b in zip([0, *cuts], [*cuts, len(order)], strict=True)]
    # No batch has an offset twice.
    coming = [list({m.offset: m for m in part}.values()) for part in parts if part]
    return sorted(sent, key=lambda m: m.order), coming


@settings(max_examples=50, deadline=None)
@given(given_=arrivals(), buckets=st.integers(1, 3))
def test_no_order_of_arrival_changes_a_later_score(
    scoring: Scoring, given_: tuple[list[Message], list[list[Message]]], buckets: int
) -> None:
    in_order, coming = given_
    at_once, as_they_come = Store(scoring), Store(scoring)
    at_once.take(in_order)
    for batch in coming:
        as_they_come.take(batch, buckets)
    assert as_they_come.scored_again() == at_once.scored_again()
    later = [Message(w, 0, 200_000 + n, [NOTHING], 100 + n) for n, w in enumerate(WALLETS)]
    assert as_they_come.take(later, buckets) == at_once.take(later)


def test_what_had_not_happened_yet_counts_later_whatever_came_first(scoring: Scoring) -> None:
    swap = {"action": "swap", "tokenIn": {"amountUSD": 600.0, "symbol": "USDC"}}
    before = Message("bob", 0, 100, [swap | {"document_id": "0", "timestamp": 100}], 0)
    ahead = Message("bob", 0, 200, [swap | {"document_id": "1", "timestamp": 201}], 1)
    after = Message("bob", 0, 300, [swap | {"document_id": "2", "timestamp": 300}], 2)
    scores = []
    for coming in ([before, ahead, after], [ahead, before, after]):
        store = Store(scoring)
        found = [store.take([message])[message.offset] for message in coming]
        scores.append(found[-1])
    assert scores[0] == scores[1]
    assert scores[0]["transaction_count"] == 3
    assert found[0]["error_code"] == "nothing_yet"
    # Sent again, its moment now has a score; and nothing counts twice.
    again = Message("bob", 0, 200, ahead.transactions, 3)
    assert store.take([again])[3]["transaction_count"] == 1
    assert store.take([Message("bob", 0, 400, before.transactions, 4)])[4]["transaction_count"] == 3


def test_what_overflows_is_mended_by_a_correction(scoring: Scoring) -> None:
    swap = {"action": "swap", "timestamp": 5, "tokenIn": {"amountUSD": TOO_MUCH}}
    store = Store(scoring)
    sent = [Message("bob", 0, n, [swap | {"document_id": str(n)}], n) for n in (10, 20, 30)]
    found = [store.take([message])[message.offset] for message in sent]
    assert [row.get("error_code") for row in found] == [None, *["non_finite_result"] * 2]
    mended = [swap | {"document_id": str(n), "tokenIn": {"amountUSD": 1.0}} for n in (10, 20, 30)]
    assert store.take([Message("bob", 0, 40, mended, 40)])[40]["transaction_count"] == 3


def pieces(batch: Sequence[Message], buckets: int) -> list[DecodedBatch]:
    """The batch as two tasks deal it out."""
    halves = [batch[: len(batch) // 2], batch[len(batch) // 2 :]]
    decoded = [
        DecodedBatch(records_of(half), decode([m.value for m in half])) for half in halves if half
    ]
    dealt: dict[int, list[DecodedBatch]] = {}
    for bucket, piece in split_by_wallet(decoded, buckets):
        dealt.setdefault(bucket, []).append(piece)
    return [concat_batches(parts) for parts in dealt.values()]


def looked_up(stored: pa.Table, keys: Sequence[str]) -> pa.Table:
    rows = wallet_rows(stored)
    return rows.filter(pc.is_in(rows["wallet_key"], value_set=pa.array(keys, pa.string())))


@settings(max_examples=100, deadline=None)
@given(coming=batches(), moments=st.lists(st.integers(0, 130_000), min_size=1, max_size=4))
def test_a_range_of_moments_is_each_moment_alone(
    scoring: Scoring, coming: list[list[Message]], moments: list[int]
) -> None:
    messages = [message for batch in coming for message in batch]
    scored = score_messages([m.value for m in messages], np.zeros(len(messages), int), (scoring,))
    records = records_of(messages)
    rows = table_rows(scored, records, BatchFacts("run", 0, 0.0, code_version="1"))[TRANSACTIONS]
    history = wallet_history(wallet_rows(rows))
    together = {}
    for part in score_moments(history, fixed_moments(history, np.array(moments)), (scoring,)):
        for row in part.scores.to_pylist():
            together[row.pop("position")] = row
    wallets = history.rows["wallet_key"].take(pa.array(history.bounds[:-1])).to_pylist()
    known = [
        m for m, p in zip(messages, range(len(messages)), strict=True) if p in accepted(scored)
    ]
    for w, wallet in enumerate(wallets):
        ours = [m for m in known if wallet_key(m.wallet) == wallet]
        newest = max(ours, key=lambda m: m.order)
        plainly = Plainly(scoring, ours)
        for k, moment in enumerate(moments):
            every = Message(newest.wallet, 9, 10**9, [], 10**9)
            rows_then = [t for t in plainly.effective(every) if t["timestamp"] <= moment]
            [alone] = results(
                score_messages(
                    [message_of(newest.wallet, rows_then)], np.array([moment]), (scoring,)
                )
            )
            if "error" in alone:
                assert w * len(moments) + k not in together
            else:
                alone.pop("transactions")
                assert together[w * len(moments) + k] == alone


def accepted(scored: Any) -> set[int]:
    return set(scored.scores["position"].to_pylist())


def test_nothing_is_scored_of_nothing(scoring: Scoring) -> None:
    history = wallet_history(schemas.WALLET_ROWS.empty_table())
    assert list(score_moments(history, fixed_moments(history, np.array([5])), (scoring,))) == []


def test_a_wallet_that_goes_on_failing_holds_up_no_other(scoring: Scoring) -> None:
    swap = {"action": "swap", "tokenIn": {"amountUSD": 5.0, "symbol": "USDC"}}
    ahead = [
        Message("0xA", 0, n, [swap | {"document_id": str(n), "timestamp": 10**9}], n)
        for n in range(300)
    ]
    good = Message("bob", 0, 5, [swap | {"document_id": "1", "timestamp": 5}], 300)
    late = Message("0xa", 0, 2 * 10**9, [swap | {"document_id": "x", "timestamp": 5}], 301)
    found = Store(scoring).take([*ahead, good, late])
    codes = [found[message.offset].get("error_code") for message in ahead]
    assert codes == ["nothing_yet"] * len(ahead)
    assert (found[300]["transaction_count"], found[301]["transaction_count"]) == (1, 301)
