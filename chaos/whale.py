"""A wallet with far more transactions than any other, and what it should score."""

from __future__ import annotations

import json
from itertools import cycle, islice
from typing import Any, Final

import numpy as np

from golden import golden_wallets, results
from scorestream.configuration import load_scoring_model
from scorestream.core.pipeline import score_messages
from scorestream.io.kafka.producing import Record
from scorestream.reference import load_conf_reference
from scorestream.settings import PROJECT_ROOT

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


def expected_score(record: Record) -> dict[tuple[str, int], dict[str, Any]]:
    """What the core gives for the only wallet of a message, as golden wallets have it."""
    conf = PROJECT_ROOT / "conf"
    model = load_scoring_model(conf, "dex-v1", load_conf_reference(conf).stable_symbols)
    [row] = results(score_messages([record.value], np.array([AS_OF]), model, history=False))
    return {(row["wallet_address"], row["as_of"]): row | row["breakdown"]}
