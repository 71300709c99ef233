"""`dex-v1`: golden wallets, and what must hold for any wallet."""

from __future__ import annotations

import json
import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scorestream.wallets.core.pipeline import score_messages
from scorestream.wallets.core.scoring import Scoring
from scorestream.wallets.scorers.dex_v1.config import DexV1Config
from tools.testkit.golden import (
    Golden,
    configured_dex_v1,
    differences,
    golden_wallets,
    results,
)
from tools.testkit.reference_dex_v1 import final_score

GOLDEN = golden_wallets()


def scored(
    scoring: Scoring, messages: list[dict[str, Any]], as_of: list[int]
) -> list[dict[str, Any]]:
    values = [json.dumps(message).encode() for message in messages]
    return results(score_messages(values, np.array(as_of), (scoring,)))


@pytest.mark.parametrize("golden", GOLDEN, ids=lambda g: g.wallet[-8:])
def test_agrees_with_every_golden_wallet(golden: Golden, scoring: Scoring) -> None:
    [row] = scored(scoring, [golden.message], [golden.as_of])
    assert differences(row, golden.expected) == []
    assert row["transaction_count"] == golden.expected["transaction_count"]


def test_scores_wallets_together_as_each_alone(scoring: Scoring) -> None:
    together = scored(scoring, [g.message for g in GOLDEN], [g.as_of for g in GOLDEN])
    alone = [scored(scoring, [g.message], [g.as_of])[0] for g in GOLDEN]
    assert together == alone


def test_shuffled_rows_change_no_digit(scoring: Scoring) -> None:
    shuffled = [_shuffled(g.message, seed) for seed, g in enumerate(GOLDEN)]
    as_of = [g.as_of for g in GOLDEN]
    expected = without_history(scored(scoring, [g.message for g in GOLDEN], as_of))
    assert without_history(scored(scoring, shuffled, as_of)) == expected


def without_history(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: row[name] for name in row if name != "transactions"} for row in rows]


def _shuffled(message: dict[str, Any], seed: int) -> dict[str, Any]:
    rng = random.Random(seed)
    data = [e | {"transactions": list(e["transactions"])} for e in message["data"]]
    for entry in data:
        rng.shuffle(entry["transactions"])
    rng.shuffle(data)
    return message | {"data": data}


# So small that a ratio of two overflows, a message has no score: that is another test's.
MIN_USD = 1e-290
usd = st.one_of(
    st.just(0),
    st.floats(MIN_USD, 1e7),
    st.integers(0, 10**6),
    st.sampled_from([0.1, 0.2, MIN_USD]),
)
symbols = st.one_of(st.none(), st.sampled_from(["USDC", "DAI", "WETH", "UNI", "", "ÅÄ"]))
legs = st.one_of(
    st.none(),
    st.fixed_dictionaries(
        {},
        optional={"amountUSD": usd, "symbol": symbols, "amount": st.integers(0, 2**256 - 1)},
    ),
)
transactions = st.fixed_dictionaries(
    {
        "document_id": st.uuids().map(str),
        "action": st.sampled_from(["swap", "deposit", "withdraw", "borrow"]),
        "timestamp": st.integers(1_600_000_000, 1_600_400_000),
    },
    optional={
        "poolId": st.one_of(st.none(), st.sampled_from(["a", "b", "c", ""])),
        "tokenIn": legs,
        "tokenOut": legs,
        "token0": legs,
        "token1": legs,
    },
)
messages = st.lists(st.lists(transactions, min_size=1, max_size=12), min_size=1, max_size=3).map(
    lambda lists: {
        "wallet_address": "0xw",
        "data": [{"protocolType": "dexes", "transactions": rows} for rows in lists],
    }
)


@given(message=messages, as_of=st.integers(1_599_900_000, 1_700_000_000))
@settings(max_examples=300, deadline=None)
def test_agrees_with_the_plain_text_of_the_model(
    message: dict[str, Any], as_of: int, scoring: Scoring
) -> None:
    [row] = scored(scoring, [message], [as_of])
    assert row["final_score"] == pytest.approx(final_score(message, as_of), rel=1e-9)


@given(message=messages, seed=st.integers())
@settings(max_examples=200, deadline=None)
def test_order_of_rows_changes_nothing(
    message: dict[str, Any], seed: int, scoring: Scoring
) -> None:
    ordered, shuffled = scored(scoring, [message, _shuffled(message, seed)], [1_600_500_000] * 2)
    assert without_history([ordered]) == without_history([shuffled])


def test_a_wallet_near_the_float_limit_is_rejected_alone(scoring: Scoring) -> None:
    leg = {"amountUSD": 1.7e308}
    swap = {"document_id": "1", "action": "deposit", "timestamp": 1, "token0": leg, "token1": leg}
    message = {
        "wallet_address": "0xw",
        "data": [{"protocolType": "dexes", "transactions": [swap]}],
    }
    ok, bad = scored(scoring, [GOLDEN[0].message, message], [GOLDEN[0].as_of, 2])
    assert differences(ok, GOLDEN[0].expected) == []
    assert len(ok["transactions"]) == ok["transaction_count"]
    assert bad["error_code"] == "non_finite_result"
    assert "transactions" not in bad


def test_a_whale_of_50_000_rows_is_scored(scoring: Scoring) -> None:
    rows = [
        {"document_id": str(i), "action": "swap", "timestamp": 1_600_000_000 + i, "poolId": "p"}
        | {"tokenIn": {"amountUSD": 0.1, "symbol": "USDC"}}
        for i in range(50_000)
    ]
    message = {"wallet_address": "0xw", "data": [{"protocolType": "dexes", "transactions": rows}]}
    [row] = scored(scoring, [message], [1_700_000_000])
    assert row["features"]["total_swap_volume"] == 5000.0
    assert row["final_score"] == pytest.approx(final_score(message, 1_700_000_000))


def test_config_hash_changes_with_a_constant_and_with_the_stable_symbols() -> None:
    config = configured_dex_v1().config
    fewer = config.model_copy(update={"stable_symbols": frozenset({"USDC"})})
    weights = config.final.model_copy(update={"lp_weight": 0.5})
    other = config.model_copy(update={"final": weights})
    assert len({config.config_hash, fewer.config_hash, other.config_hash}) == 3
    again = DexV1Config(**config.model_dump())
    assert again.config_hash == config.config_hash


@pytest.mark.parametrize("include_transactions", [True, False])
@pytest.mark.parametrize("values", [[], [None], [b"nonsense", b"{}"]])
def test_a_batch_without_any_good_message_is_all_rejects(
    values: list[bytes | None], *, include_transactions: bool, scoring: Scoring
) -> None:
    moments = np.zeros(len(values), dtype=np.int64)
    scored = score_messages(values, moments, (scoring,), include_transactions=include_transactions)
    assert (scored.scores.num_rows, scored.rejects.num_rows) == (0, len(values))
    assert (scored.transactions is not None) == include_transactions
