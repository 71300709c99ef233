"""A wallet with far more transactions than any other."""

from __future__ import annotations

import json
from itertools import cycle, islice
from typing import Final

from scorestream.infra.kafka.producer import Record
from tools.testkit.golden import golden_wallets

AS_OF: Final = 1_700_000_000


def whale(wallet: str, transactions: int) -> Record:
    """A message with so many transactions, those of the golden wallets again and again."""
    entries = [entry for golden in golden_wallets() for entry in golden.message["data"]]
    rows = [row for e in entries if e["protocolType"] == "dexes" for row in e["transactions"]]
    entry = {"protocolType": "dexes", "transactions": list(islice(cycle(rows), transactions))}
    value = json.dumps({"wallet_address": wallet, "data": [entry]}).encode()
    return Record(wallet.encode(), value, AS_OF * 1000)


def small_rows(wallet: str, transactions: int) -> Record:
    """A message with so many of the smallest transactions: in memory it is many times as large."""
    row = '{"document_id":"","action":"","timestamp":0}'
    entry = f'{{"protocolType": "dexes", "transactions": [{",".join([row] * transactions)}]}}'
    value = f'{{"wallet_address": "{wallet}", "data": [{entry}]}}'
    return Record(wallet.encode(), value.encode(), AS_OF * 1000)
