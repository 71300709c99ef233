"""The golden wallets as messages that carry only what is new."""

from __future__ import annotations

import json
from typing import Any

from scorestream.infra.kafka.producer import Record
from tools.testkit.golden import Golden, differences, golden_wallets

PARTS = 3


def dexes(golden: Golden) -> list[dict[str, Any]]:
    entries = [e for e in golden.message["data"] if e["protocolType"] == "dexes"]
    return [t for entry in entries for t in entry["transactions"]]


def eligible() -> list[Golden]:
    """Golden wallets with distinct transactions, in parts that end at moments of their own."""
    by_wallet = {}
    for golden in golden_wallets():
        rows = dexes(golden)
        if len({t["document_id"] for t in rows}) == len(rows) >= PARTS:
            first, second, third = (int(part[-1]["timestamp"]) for part in parts(golden))
            if first < second < golden.as_of and third <= golden.as_of:
                by_wallet[golden.wallet.lower()] = golden
    assert len(by_wallet) > 20
    return list(by_wallet.values())


def parts(golden: Golden) -> list[list[dict[str, Any]]]:
    rows = sorted(dexes(golden), key=lambda t: int(t["timestamp"]))
    return [rows[i * len(rows) // PARTS : (i + 1) * len(rows) // PARTS] for i in range(PARTS)]


def increments() -> list[list[Record]]:
    """Batches of messages that each bring a part, in the order of the moments.

    The second batch also has a first version of a transaction of the third, which corrects it, and
    repeats the first batch's.
    """
    batches: list[list[Record]] = [[] for _ in range(PARTS)]
    for golden in eligible():
        pieces = parts(golden)
        wrong = {**pieces[2][0], "poolId": "elsewhere"}
        sent = [pieces[0], [*pieces[0], *pieces[1], wrong], pieces[2]]
        for number, rows in enumerate(sent):
            latest = max(int(t["timestamp"]) for t in pieces[number])
            moment = golden.as_of if number == PARTS - 1 else latest
            batches[number].append(record(golden.wallet, rows, moment))
    return batches


def out_of_order() -> list[list[Record]]:
    """Batches that each bring a part, the last one first and once more at the end.

    The first part comes a second before its first transaction, so that it has no score itself.
    """
    batches: list[list[Record]] = [[] for _ in range(PARTS + 1)]
    for golden in eligible():
        first, second, third = parts(golden)
        last = record(golden.wallet, third, golden.as_of)
        early = record(golden.wallet, first, int(first[0]["timestamp"]) - 1)
        middle = record(golden.wallet, second, int(second[-1]["timestamp"]))
        for batch, each in zip(batches, (last, early, middle, last), strict=True):
            batch.append(each)
    return batches


def record(wallet: str, rows: list[dict[str, Any]], moment: int) -> Record:
    data = [{"protocolType": "dexes", "transactions": rows}]
    value = json.dumps({"wallet_address": wallet, "data": data}).encode()
    return Record(None, value, moment * 1000)


def check_last_scores(scores: list[dict[str, Any]]) -> None:
    """The last score of every wallet is the one of its whole list."""
    last = {row["wallet_key"]: row for row in sorted(scores, key=lambda row: row["as_of"])}
    for golden in eligible():
        row = last[golden.wallet.lower()]
        assert row["as_of"] == golden.as_of
        assert differences(row, golden.expected) == []
        assert row["transaction_count"] == golden.expected["transaction_count"]
