"""Messages: what is accepted, how it is read, and what each bad one is told."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from scorestream.wallets.core import decode as decoding
from scorestream.wallets.core.decode import Decoded, decode, history_of
from scorestream.wallets.core.exact_parser import parse_exact
from scorestream.wallets.core.json_brackets import count_brackets
from scorestream.wallets.core.messages import BadMessage
from tools.local.samples import sample_records
from tools.testkit.golden import golden_wallets

SWAP: dict[str, Any] = {
    "document_id": "0x1:[0]",
    "action": "swap",
    "timestamp": 1_623_703_638,
    "tokenIn": {"amount": 5, "amountUSD": 10.5, "symbol": "USDC"},
}
TX = "data[0].transactions[0]"


def message(*transactions: Any, **fields: Any) -> dict[str, Any]:
    entry = {"protocolType": "dexes", "transactions": list(transactions)}
    return {"wallet_address": "0xAb", "data": [entry]} | fields


def raw(*transactions: Any, **fields: Any) -> bytes:
    return json.dumps(message(*transactions, **fields)).encode()


def swap(**fields: Any) -> dict[str, Any]:
    return SWAP | fields


def leg(**fields: Any) -> dict[str, Any]:
    return swap(tokenIn=SWAP["tokenIn"] | fields)


def without(name: str) -> dict[str, Any]:
    return {k: v for k, v in SWAP.items() if k != name}


def spliced(old: str, new: str) -> bytes:
    """The usual message with a piece of its JSON text exchanged."""
    text = raw(SWAP).decode()
    assert old in text
    return text.replace(old, new).encode()


DEEP = b"[" * 5000 + b"]" * 5000
MANY_ROWS_AND_DEEP = raw(*[{"document_id": "1", "action": "x", "timestamp": 1}] * 1000, extra=0)
MANY_ROWS_AND_DEEP = MANY_ROWS_AND_DEEP.replace(
    b'"extra": 0', b'"extra": ' + b"[" * 600 + b"]" * 600
)
# Brackets of ids are no depth, but escaped ones are no brackets of the message.
ESCAPED_BRACKETS_AND_DEEP = raw(swap(document_id="@"), extra=0).replace(b"@", rb"\u005b" * 3000)
ESCAPED_BRACKETS_AND_DEEP = ESCAPED_BRACKETS_AND_DEEP.replace(
    b'"extra": 0', b'"extra": ' + b"[" * 600 + b"]" * 600
)
DEEP_IN_EXTRA_FIELD = raw(SWAP, extra=0).replace(b'"extra": 0', b'"extra": ' + DEEP)

BAD: list[tuple[str, bytes | None, str, str]] = [
    ("null value", None, "null_value", "no value"),
    ("empty", b"", "invalid_json", "cut off at byte 0"),
    ("not JSON", b"hello", "invalid_json", "not JSON"),
    ("cut off", raw(SWAP)[:-20], "invalid_json", "not JSON"),
    ("trailing text", raw(SWAP) + b" x", "invalid_json", "trailing characters"),
    ("not UTF-8", raw(SWAP)[:-3] + b"\xff", "invalid_utf8", "not UTF-8"),
    ("not UTF-8 in an unused field", raw(SWAP, x="@").replace(b"@", b"\xff"), "invalid_utf8", ""),
    ("nested too deep", DEEP, "too_deep", "512 levels"),
    ("nested too deep in an unused field", DEEP_IN_EXTRA_FIELD, "too_deep", "512 levels"),
    ("nested too deep beside many rows", MANY_ROWS_AND_DEEP, "too_deep", "512 levels"),
    ("nested too deep beside escapes", ESCAPED_BRACKETS_AND_DEEP, "too_deep", "512 levels"),
    ("10 MB of nonsense", b"\x00nonsense" * 1_100_000, "invalid_json", "not JSON"),
    ("10 MB of one string", b'"' + b"x" * 10_000_000 + b'"', "invalid_type", "message:"),
    ("an array", b"[]", "invalid_type", "message: must be an object, is an array"),
    ("a number", b"5", "invalid_type", "message: must be an object, is 5"),
    ("no wallet", json.dumps({"data": []}).encode(), "missing_field", "wallet_address: is missing"),
    ("wallet null", raw(SWAP, wallet_address=None), "invalid_type", "wallet_address: must be"),
    ("wallet a number", raw(SWAP, wallet_address=5), "invalid_type", "must be a string, is 5"),
    ("wallet empty", raw(SWAP, wallet_address=""), "invalid_wallet_address", "has 0"),
    ("wallet long", raw(SWAP, wallet_address="x" * 257), "invalid_wallet_address", "has 257"),
    ("no data", b'{"wallet_address":"0xAb"}', "missing_field", "data: is missing"),
    ("data an object", raw(data={}), "invalid_type", "data: must be an array"),
    ("entry null", raw(data=[None]), "invalid_type", "data[0]: must be an object, is null"),
    ("no protocolType", raw(data=[{}]), "missing_field", "data[0].protocolType: is missing"),
    (
        "no transactions field",
        raw(data=[{"protocolType": "dexes"}]),
        "missing_field",
        "data[0].transactions: is missing",
    ),
    ("transaction a number", raw(SWAP, 5), "invalid_type", "data[0].transactions[1]: must be"),
    ("no document_id", raw(without("document_id")), "missing_field", f"{TX}.document_id"),
    ("no action", raw(without("action")), "missing_field", f"{TX}.action"),
    ("no timestamp", raw(without("timestamp")), "missing_field", f"{TX}.timestamp"),
    ("document_id null", raw(swap(document_id=None)), "invalid_type", f"{TX}.document_id"),
    ("action a number", raw(swap(action=1)), "invalid_type", f"{TX}.action"),
    ("timestamp text", raw(swap(timestamp="soon")), "invalid_timestamp", f"{TX}.timestamp"),
    ("timestamp null", raw(swap(timestamp=None)), "invalid_timestamp", "is null"),
    ("timestamp true", raw(swap(timestamp=True)), "invalid_timestamp", "is true"),
    ("timestamp half", raw(swap(timestamp=1.5)), "invalid_timestamp", "is 1.5"),
    ("timestamp huge", raw(swap(timestamp=10**15)), "invalid_timestamp", f"{TX}.timestamp"),
    ("timestamp of 5000 digits", spliced("1623703638", "9" * 5000), "invalid_timestamp", TX),
    ("poolId a number", raw(swap(poolId=5)), "invalid_type", f"{TX}.poolId"),
    ("chainId text", raw(swap(chainId="one")), "invalid_type", f"{TX}.chainId"),
    ("leg a list", raw(swap(tokenOut=[])), "invalid_type", f"{TX}.tokenOut: must be an object"),
    ("symbol a number", raw(leg(symbol=5)), "invalid_type", f"{TX}.tokenIn.symbol"),
    ("USD null", raw(leg(amountUSD=None)), "invalid_amount", f"{TX}.tokenIn.amountUSD"),
    ("USD NaN", spliced("10.5", "NaN"), "invalid_json", "NaN is not a JSON value"),
    ("USD infinite", spliced("10.5", "-Infinity"), "invalid_json", "-Infinity"),
    ("USD beyond floats", spliced("10.5", "1e999"), "invalid_amount", "is 1e999"),
    ("USD negative", raw(leg(amountUSD=-0.01)), "invalid_amount", "is -0.01"),
    ("USD text", raw(leg(amountUSD="5")), "invalid_amount", 'is "5"'),
    ("USD true", raw(leg(amountUSD=True)), "invalid_amount", "is true"),
    ("amount null", raw(leg(amount=None)), "invalid_amount", f"{TX}.tokenIn.amount: must be"),
    ("amount negative", raw(leg(amount=-1)), "invalid_amount", "is -1"),
    ("amount 2^256", raw(leg(amount=2**256)), "invalid_amount", "2^256-1"),
    ("amount half", raw(leg(amount=0.5)), "invalid_amount", "is 0.5"),
    ("amount of two numbers", raw(leg(amount="1,2")), "invalid_amount", 'is "1,2"'),
    ("amount of two lines", raw(leg(amount="1\n2")), "invalid_amount", "is"),
    ("amount empty text", raw(leg(amount="")), "invalid_amount", 'is ""'),
    ("amount an object", raw(leg(amount={})), "invalid_amount", "is an object"),
    ("lone surrogate", raw(swap(poolName="\ud800")), "invalid_utf8", f"{TX}.poolName"),
    ("no transactions", raw(), "no_transactions", "No valid transactions found"),
    (
        "only other protocols",
        raw(data=[{"protocolType": "lending", "transactions": 5}]),
        "no_transactions",
        "No valid transactions found",
    ),
]


@pytest.mark.parametrize(("value", "code", "text"), [b[1:] for b in BAD], ids=[b[0] for b in BAD])
def test_a_bad_message_is_one_reject_and_its_neighbours_are_untouched(
    value: bytes | None, code: str, text: str
) -> None:
    good = [g.value for g in golden_wallets()[:2]]
    decoded = decode([good[0], value, good[1]])
    [reject] = decoded.rejects
    assert (reject.position, reject.code) == (1, code)
    assert text in reject.error
    assert len(reject.error) < 400
    assert sorted(decoded.positions.tolist()) == [0, 2]
    assert decoded.rows.equals(decode(good).rows)


def test_a_reject_tells_what_could_be_read() -> None:
    cases = {
        raw(SWAP, swap(timestamp=None)): ("0xAb", 2),
        raw(SWAP)[:-20]: ("0xAb", 0),
        b"\xff": (None, 0),
        raw(SWAP, wallet_address=["x"]): (None, 1),
    }
    read = {
        value: (r.wallet_address, r.transaction_count)
        for value in cases
        for r in decode([value]).rejects
    }
    assert read == cases


ACCEPTED: list[tuple[str, bytes, dict[str, Any]]] = [
    ("usual", raw(SWAP), {"timestamp": 1_623_703_638, "leg0_usd": 10.5, "leg0_amount": "5"}),
    ("milliseconds", raw(swap(timestamp=1_623_703_638_999)), {"timestamp": 1_623_703_638}),
    ("integral float", raw(swap(timestamp=1_623_703_638.0)), {"timestamp": 1_623_703_638}),
    ("numeric text", raw(swap(timestamp="1623703638")), {"timestamp": 1_623_703_638}),
    ("milliseconds as text", raw(swap(timestamp="1623703638999")), {"timestamp": 1_623_703_638}),
    ("absent strings", raw(SWAP), {"pool_id": "", "protocol": "", "leg1_symbol": ""}),
    ("null poolId", raw(swap(poolId=None)), {"pool_id": None}),
    ("null symbol", raw(leg(symbol=None)), {"leg0_symbol": None}),
    ("null leg", raw(swap(tokenIn=None)), {"leg0_usd": 0.0, "leg0_symbol": ""}),
    ("absent USD", raw(swap(tokenIn={})), {"leg0_usd": 0.0, "leg0_amount": None}),
    ("USD an integer", raw(leg(amountUSD=3)), {"leg0_usd": 3.0}),
    ("USD minus zero", spliced("10.5", "-0.0"), {"leg0_usd": 0.0}),
    ("largest amount", raw(leg(amount=2**256 - 1)), {"leg0_amount": str(2**256 - 1)}),
    ("amount as text", raw(leg(amount="123")), {"leg0_amount": "123"}),
    (
        "amount with exponent",
        spliced('"amount": 5', '"amount": 1e18'),
        {"leg0_amount": "1" + 18 * "0"},
    ),
    ("chain of the row", raw(swap(chainId=10), chainId=5), {"chain_id": 10}),
    ("chain of the message", raw(SWAP, chainId=5), {"chain_id": 5}),
    ("chain by default", raw(SWAP), {"chain_id": 1}),
    ("unknown fields", raw(swap(more={"a": [1]}), more=None), {"action": "swap"}),
    ("unused legs of any kind", raw(swap(token0=5, token1="x")), {"leg0_usd": 10.5}),
    ("other action", raw(swap(action="borrow", tokenIn=5)), {"action": "borrow", "leg0_usd": 0.0}),
    ("other characters", raw(swap(poolName="Å😀")), {"pool_name": "Å😀"}),
    ("a repeated key: the last one", spliced('"timestamp"', '"timestamp": "x", "timestamp"'), {}),
]


@pytest.mark.parametrize(
    ("value", "expected"), [a[1:] for a in ACCEPTED], ids=[a[0] for a in ACCEPTED]
)
def test_what_is_accepted_is_read_as_specified(value: bytes, expected: dict[str, Any]) -> None:
    decoded = decode([value])
    assert decoded.rejects == []
    [row] = decoded.rows.to_pylist()
    assert {name: row[name] for name in expected} == expected


def exactly_decoded(values: Sequence[bytes | None], patch: pytest.MonkeyPatch) -> Decoded:
    """Decoded by the exact parser alone."""
    with patch.context() as patched:
        patched.setattr(decoding, "parse_fast", lambda _: None)
        return decode(values)


EVERY_VALUE = [
    *(a[1] for a in ACCEPTED),
    *(b[1] for b in BAD),
    *(g.value for g in golden_wallets()),
]


@pytest.mark.parametrize("value", EVERY_VALUE, ids=range(len(EVERY_VALUE)))
def test_both_parsers_read_every_message_alike(
    value: bytes | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    fast, exact = decode([value]), exactly_decoded([value], monkeypatch)
    assert fast.rows.equals(exact.rows)
    assert (fast.wallets, fast.rejects) == (exact.wallets, exact.rejects)


def test_a_batch_of_all_sorts_is_read_as_each_message_alone() -> None:
    batch = decode(EVERY_VALUE)
    alone = {i: decode([value]) for i, value in enumerate(EVERY_VALUE)}
    assert sorted([*batch.positions.tolist(), *(r.position for r in batch.rejects)]) == [*alone]
    for reject in batch.rejects:
        assert [replace(r, position=reject.position) for r in alone[reject.position].rejects] == [
            reject
        ]
    rows = batch.rows.drop_columns(["message"]).to_pylist()
    expected = [
        row
        for position in batch.positions.tolist()
        for row in alone[position].rows.drop_columns(["message"]).to_pylist()
    ]
    assert rows == expected


def test_messages_as_they_usually_are_need_no_exact_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    values = [g.value for g in golden_wallets() if "unknownField" not in g.value.decode()]
    values += [r.value for r in sample_records(["dex_wallets_2021.jsonl.gz"]) if r.value][:500]
    values += [raw(leg(amount=text)) for text in ("0", "7", str(2**255))]
    values += [raw(data=[{"protocolType": "lending", "odd": [[1]]}, *message(SWAP)["data"]])]
    monkeypatch.setattr(decoding, "parse_exact", None)
    assert len(decode(values).wallets) == len(values)


def test_usual_messages_are_decoded_block_by_block(monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = []

    def spy(values: Sequence[bytes]) -> int:
        blocks.append(len(values))
        return count_brackets(values)

    monkeypatch.setattr(decoding, "count_brackets", spy)
    values = [r.value or b"" for r in sample_records(["dex_wallets_2021.jsonl.gz"])]
    assert len(decode(values).wallets) == len(values)
    assert sum(blocks) == len(values)
    assert len(blocks) <= sum(map(len, values)) / decoding.BLOCK_BYTES + 1


@pytest.mark.parametrize("depth", [400, 600])
@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_depth_counts_wherever_it_is(depth: int, opening: str) -> None:
    deep = opening * depth + "1" + {"[": "]", "{": "}"}[opening[0]] * depth
    spots = ['"action"', '"symbol"', '"protocolType"', '"wallet_address"']
    values = [raw(SWAP).replace(s.encode(), f'"x": {deep}, {s}'.encode(), 1) for s in spots]
    values.append(raw(swap(token0=7)).replace(b'"token0": 7', f'"token0": {deep}'.encode()))
    for value in values:
        codes = [r.code for r in decode([raw(SWAP), value]).rejects]
        assert codes == (["too_deep"] if depth > 512 else [])


def test_only_dexes_entries_count() -> None:
    lending = {"protocolType": "lending", "transactions": [{"odd": 1}]}
    dexes = message(SWAP)["data"][0]
    decoded = decode([raw(data=[lending, dexes, dexes])])
    assert decoded.rows.num_rows == 2


def test_history_has_the_legs_that_the_action_uses() -> None:
    deposit = {"document_id": "2", "action": "deposit", "timestamp": 1, "token0": {"amountUSD": 2}}
    decoded = decode([raw(SWAP, deposit, swap(action="borrow"))])
    bought, deposited, borrowed = history_of(decoded).to_pylist()
    assert bought["token_in"]["amount"] == "5"
    assert bought["token0"] is None
    assert deposited["token0"]["amount_usd"] == 2.0
    assert deposited["token1"] == {"amount": None, "amount_usd": 0.0, "address": None, "symbol": ""}
    assert deposited["token_in"] is None
    assert [row["usd_value"] for row in (bought, deposited, borrowed)] == [10.5, 2.0, None]


def test_exact_parser_says_what_is_wrong() -> None:
    with pytest.raises(BadMessage, match="is missing") as caught:
        parse_exact(b'{"wallet_address": "0xAb"}')
    assert caught.value.code == "missing_field"
