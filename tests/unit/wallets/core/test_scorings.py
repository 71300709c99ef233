"""Several scorings at once, and scorings of several categories."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from scorestream.wallets.core.entries import rows_schema
from scorestream.wallets.core.messages import Timestamp
from scorestream.wallets.core.pipeline import Scored, score_messages
from scorestream.wallets.core.scoring import Scoring, Weighted
from scorestream.wallets.scorers.dex_v1.scorer import DexV1
from tools.testkit.golden import configured_dex_v1, differences, golden_wallets
from tools.testkit.lending import Lending

GOLDEN = golden_wallets()[:5]
LOANS: list[dict[str, Any]] = [
    {"timestamp": 1_600_000_000, "repaid": True, "usd": 100.5, "ignored": {}},
    {"timestamp": 1_700_000_000_000, "repaid": False, "pool": "p"},
    {"timestamp": 1_650_000_000, "repaid": True, "usd": 1},
]
LENDING = {"protocolType": "lending", "transactions": LOANS}
NOW = 1_800_000_000


@pytest.fixture
def both() -> Scoring:
    return Scoring("both", (Weighted(configured_dex_v1(), 3.0), Weighted(Lending(), 1.0)))


@pytest.fixture
def lending() -> Scoring:
    return Scoring.of("lending-v1", Lending())


def message(*entries: Any, wallet: str = "0xA1") -> bytes:
    return json.dumps({"wallet_address": wallet, "data": entries}).encode()


def dexes(number: int = 0) -> Any:
    [entry] = GOLDEN[number].message["data"]
    return entry


def score(values: list[bytes], *scorings: Scoring) -> Scored:
    return score_messages(values, np.full(len(values), NOW), scorings)


def test_categories_are_weighed(both: Scoring, lending: Scoring, scoring: Scoring) -> None:
    value = message(LENDING, dexes())
    [row] = score([value], both).scores.to_pylist()
    [dex] = score([value], scoring).scores.to_pylist()
    [loans] = score([value], lending).scores.to_pylist()
    assert row["final_score"] == (3 * dex["final_score"] + loans["final_score"]) / 4
    assert f"{row['zscore']:f}" == f"{row['final_score']:.18f}"
    assert loans["final_score"] == row["repayment_score"] == 20.0
    assert row["features"] == dex["features"] | {"num_loans": 3, "borrowed_usd": 101.5}
    assert row["breakdown"] == dex["breakdown"] | {"repayment": {"repaid": 20.0}}
    assert (row["lp_score"], row["swap_score"]) == (dex["lp_score"], dex["swap_score"])
    assert row["tags"] == [*dex["tags"], "Borrower"]
    count = dex["transaction_count"]
    assert row["transaction_count"] == count + 3
    assert row["categories"] == [
        ("dexes", {"score": dex["final_score"], "transaction_count": count}),
        ("lending", {"score": 20.0, "transaction_count": 3}),
    ]
    assert loans["last_transaction_at"].timestamp() == 1_700_000_000
    ends = [dex["last_transaction_at"], loans["last_transaction_at"]]
    assert row["last_transaction_at"] == max(ends)
    assert len({row["config_hash"], dex["config_hash"], loans["config_hash"]}) == 3


def test_the_score_goes_by_the_categories_that_a_message_has(both: Scoring) -> None:
    values = [
        message(dexes(1)),
        message({"protocolType": "games", "transactions": 7}, LENDING),
        message(LENDING, {"protocolType": "dexes", "transactions": []}, LENDING),
    ]
    first, second, third = score(values, both).scores.sort_by("position").to_pylist()
    assert [name for name, _ in first["categories"]] == ["dexes"]
    assert first["repayment_score"] is first["features"]["num_loans"] is None
    assert second["lp_score"] is second["features"]["num_swaps"] is None
    assert (second["final_score"], second["tags"]) == (20.0, ["Borrower"])
    assert (third["final_score"], third["transaction_count"]) == (40.0, 6)


@pytest.mark.parametrize("order", [1, -1])
def test_golden_digits_stand_beside_another_category(both: Scoring, order: int) -> None:
    values = [
        message(*[LENDING, *golden.message["data"]][::order], wallet=golden.wallet)
        for golden in GOLDEN
    ]
    moments = np.array([golden.as_of for golden in GOLDEN])
    scored = score_messages(values, moments, (both,)).scores.sort_by("position")
    for golden, row in zip(GOLDEN, scored.to_pylist(), strict=True):
        [expected] = [found["score"] for name, found in row["categories"] if name == "dexes"]
        alone = row | {
            "final_score": expected,
            "zscore": f"{expected:.18f}",
            "tags": [tag for tag in row["tags"] if tag != "Borrower"],
            "transaction_count": row["transaction_count"] - len(LOANS),
        }
        assert differences(alone, golden.expected) == []


@pytest.mark.parametrize(
    ("entry", "code", "told"),
    [
        (
            {"protocolType": "lending", "transactions": [*LOANS, {"timestamp": 1, "repaid": 1}]},
            "invalid_field",
            "data[1].transactions[3].repaid: expected `bool`, got `int`",
        ),
        (
            {"protocolType": "lending", "transactions": [{"repaid": True}]},
            "invalid_field",
            "data[1].transactions[0]: object missing required field `timestamp`",
        ),
        (
            {"protocolType": "lending", "transactions": [LOANS[0] | {"usd": -1}]},
            "invalid_field",
            "data[1].transactions[0].usd: expected `float` >= 0.0",
        ),
        (
            {"protocolType": "lending", "transactions": {}},
            "invalid_type",
            "data[1].transactions: must be an array, is an object",
        ),
        (
            {"protocolType": "lending"},
            "missing_field",
            "data[1].transactions: is missing",
        ),
        (
            {"protocolType": "lending", "transactions": [LOANS[0] | {"pool": "\ud800"}]},
            "invalid_utf8",
            "data[1].transactions: has a lone surrogate, which UTF-8 cannot hold",
        ),
        (
            {"protocolType": "dexes", "transactions": [{}]},
            "missing_field",
            "data[1].transactions[0].action: is missing",
        ),
    ],
)
def test_a_message_is_rejected_whole_if_one_of_its_categories_is_invalid(
    entry: Any, code: str, told: str, both: Scoring
) -> None:
    other = dexes() if entry["protocolType"] == "lending" else LENDING
    scored = score([message(other, entry), message(LENDING)], both)
    [reject] = scored.rejects.to_pylist()
    assert (reject["position"], reject["error_code"], reject["error"]) == (0, code, told)
    assert (reject["wallet_address"], reject["category"]) == ("0xA1", entry["protocolType"])
    assert scored.scores["position"].to_pylist() == [1]
    assert scored.transactions is not None
    assert not scored.transactions.num_rows


def test_what_nobody_can_read_is_rejected_with_the_same_words_as_without_categories(
    both: Scoring, scoring: Scoring
) -> None:
    values = [b"", b"[]", b"{", message(dexes(), wallet=""), b"\xff", message({}), message()]
    names = ["position", "wallet_address", "error_code", "error"]
    rejects = score(values, both).rejects.sort_by("position").select(names)
    assert rejects.equals(score(values, scoring).rejects.sort_by("position").select(names))
    assert rejects.num_rows == len(values)


def test_a_message_has_one_answer_of_each_scoring(
    both: Scoring, lending: Scoring, scoring: Scoring
) -> None:
    broken = {"protocolType": "dexes", "transactions": [{}]}
    values = [
        message(dexes(0), LENDING),
        message(dexes(1)),
        message(LENDING),
        message(broken, LENDING),
        b"no JSON",
    ]
    scored = score(values, scoring, lending, both)
    answers = sorted((row["position"], row["scoring"]) for row in scored.scores.to_pylist())
    assert answers == [
        *((0, name) for name in ("both", "dex-v1", "lending-v1")),
        *((1, name) for name in ("both", "dex-v1")),
        *((2, name) for name in ("both", "lending-v1")),
        (3, "lending-v1"),
    ]
    names = ("position", "scoring", "error_code")
    rejects = sorted(tuple(str(row[n]) for n in names) for row in scored.rejects.to_pylist())
    assert rejects == [
        ("1", "lending-v1", "no_transactions"),
        ("2", "dex-v1", "no_transactions"),
        ("3", "both", "missing_field"),
        ("3", "dex-v1", "missing_field"),
        ("4", "None", "invalid_json"),
    ]
    assert scored.transactions is not None
    found = pc.unique(scored.transactions["position"]).to_pylist()
    assert sorted(found) == [0, 1]
    alone = score(values[:2], scoring).transactions
    assert alone is not None
    assert len(scored.transactions) == len(alone)


def test_scorings_score_together_as_each_alone(both: Scoring, scoring: Scoring) -> None:
    values = [message(*g.message["data"], LENDING, wallet=g.wallet) for g in GOLDEN]
    together = score(values, both, scoring).scores
    for each in (both, scoring):
        rows = together.filter(pc.equal(together["scoring"], each.name)).sort_by("position")
        expected = score(values, each).scores.sort_by("position").to_pylist()
        for row, alone in zip(rows.to_pylist(), expected, strict=True):
            assert without_nulls(row) == without_nulls(alone)


def without_nulls(value: Any) -> Any:
    """A row without what only other scorings have."""
    if not isinstance(value, dict):
        return value
    return {k: found for k, v in value.items() if (found := without_nulls(v)) not in (None, {})}


def test_a_result_that_is_not_finite_rejects_the_message(lending: Scoring) -> None:
    huge = Scoring("huge", (Weighted(configured_dex_v1()), Weighted(Lending(points_each=1e308))))
    scored = score([message(LENDING, dexes()), message(LENDING)], huge, lending)
    assert scored.scores["scoring"].to_pylist() == ["lending-v1"] * 2
    for reject in scored.rejects.to_pylist():
        what = (reject["error_code"], reject["scoring"], reject["category"])
        assert what == ("non_finite_result", "huge", "lending")


class Unbounded(msgspec.Struct):
    timestamp: Timestamp
    count: int


class Timeless(msgspec.Struct):
    usd: float


class Nested(msgspec.Struct):
    timestamp: Timestamp
    usd: list[float]


@pytest.mark.parametrize(
    ("struct", "told"),
    [
        (Unbounded, r"Unbounded.count: give msgspec.Meta\(ge=…, le=…\) within 64 bits"),
        (Timeless, "Timeless: has no timestamp: Timestamp"),
        (Nested, "Nested.usd: must be int, float, str or bool, or one of them or None"),
    ],
)
def test_a_transaction_that_no_table_can_have_is_refused(
    struct: type[msgspec.Struct], told: str
) -> None:
    with pytest.raises(TypeError, match=told):
        rows_schema(struct)


def test_the_columns_of_a_category_are_the_fields_of_its_transactions() -> None:
    assert rows_schema(Lending.declaration.transaction or Unbounded) == pa.schema(
        [
            ("message", pa.int32()),
            pa.field("timestamp", pa.int64(), nullable=False),
            pa.field("repaid", pa.bool_(), nullable=False),
            pa.field("usd", pa.float64(), nullable=False),
            ("pool", pa.string()),
        ]
    )
    assert DexV1.declaration.transaction is None
