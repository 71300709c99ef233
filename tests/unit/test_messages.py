"""Messages: what is accepted, how it is read, and what each bad one is told."""

from __future__ import annotations

import json
from typing import Any

import pytest

from golden import golden_wallets
from scorestream.core.decode import decode, history_of
from scorestream.core.features import usd_values
from scorestream.core.messages import LEGS_OF_ACTION, BadMessage, parse_exact, parse_fast

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
DEEP_IN_EXTRA_FIELD = raw(SWAP, extra=0).replace(b'"extra": 0', b'"extra": ' + DEEP)

BAD: list[tuple[str, bytes | None, str, str]] = [
    ("null value", None, "null_value", "no value"),
    ("empty", b"", "invalid_json", "line 1 column 1"),
    ("not JSON", b"hello", "invalid_json", "not JSON"),
    ("cut off", raw(SWAP)[:-20], "invalid_json", "not JSON"),
    ("trailing text", raw(SWAP) + b" x", "invalid_json", "Extra data"),
    ("not UTF-8", raw(SWAP)[:-3] + b"\xff", "invalid_utf8", "not UTF-8"),
    ("not UTF-8 in an unused field", raw(SWAP, x="@").replace(b"@", b"\xff"), "invalid_utf8", ""),
    ("nested too deep", DEEP, "too_deep", "512 levels"),
    ("nested too deep in an unused field", DEEP_IN_EXTRA_FIELD, "too_deep", "512 levels"),
    ("nested too deep beside many rows", MANY_ROWS_AND_DEEP, "too_deep", "512 levels"),
    ("10 MB of nonsense", b"\x00nonsense" * 1_100_000, "invalid_json", "not JSON"),
    ("10 MB of one string", b'"' + b"x" * 10_000_000 + b'"', "invalid_type", "message:"),
    ("an array", b"[]", "invalid_type", "message: must be an object, is an array of 0 elements"),
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
    ("amount an object", raw(leg(amount={})), "invalid_amount", "an object of 0 fields"),
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
    assert decoded.positions.tolist() == [0, 2]
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


def test_both_parsers_read_alike_what_both_accept() -> None:
    values = [a[1] for a in ACCEPTED] + [g.value for g in golden_wallets()]
    both = [(value, fast) for value in values if (fast := parse_fast(value)) is not None]
    assert len(both) > len(golden_wallets())
    assert [_plain(fast) for _, fast in both] == [_plain(parse_exact(value)) for value, _ in both]


def _plain(message: Any) -> Any:
    """Rows of dexes entries, with the legs that count and amounts without quotes."""

    def leg_of(row: Any, name: str) -> Any:
        found = getattr(row, name)
        if found is None:
            return None
        return bytes(found.amount).strip(b'"'), found.amountUSD, found.address, found.symbol

    fields = ("document_id", "action", "timestamp", "protocol", "poolId", "poolName", "caller")
    return [
        [getattr(r, name) for name in (*fields, "chainId")]
        + [leg_of(r, name) for name in LEGS_OF_ACTION.get(r.action, ())]
        for e in message.data
        if e.protocolType == "dexes"
        for r in e.transactions
    ]


def test_usual_messages_take_the_fast_parser() -> None:
    plain = [g for g in golden_wallets() if "unknownField" not in g.value.decode()]
    assert all(parse_fast(g.value) is not None for g in plain)


def test_only_dexes_entries_count() -> None:
    lending = {"protocolType": "lending", "transactions": [{"odd": 1}]}
    dexes = message(SWAP)["data"][0]
    decoded = decode([raw(data=[lending, dexes, dexes])])
    assert decoded.rows.num_rows == 2


def test_history_has_the_legs_that_the_action_uses() -> None:
    deposit = {"document_id": "2", "action": "deposit", "timestamp": 1, "token0": {"amountUSD": 2}}
    rows = decode([raw(SWAP, deposit, swap(action="borrow"))]).rows
    bought, deposited, borrowed = history_of(rows, usd_values(rows)).to_pylist()
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
