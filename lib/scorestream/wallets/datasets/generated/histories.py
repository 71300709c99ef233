"""Generated wallets as a history in memory: what a warehouse that scored them would hold."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import pyarrow as pa

from scorestream.wallets.core import schemas
from scorestream.wallets.core.messages import LEGS_OF_ACTION
from scorestream.wallets.datasets.cutoffs import BEHAVIOUR
from scorestream.wallets.datasets.generated.behaviours import Histories
from scorestream.wallets.datasets.generated.messages import messages_of

Row = dict[str, Any]
ROWS: Final = pa.schema([*schemas.WALLET_ROWS, (BEHAVIOUR, pa.string())])


def stored_rows(histories: Histories, until: int) -> list[Row]:
    """All transactions as `WALLET_ROWS` with their wallet's behaviour, in one message a wallet.

    Args:
        histories: of wallets, whose addresses are their numbers.
        until: unix seconds at which the messages come.
    """
    addresses = [f"0x{number:040x}" for number in range(len(histories.behaviours))]
    pairs = zip(messages_of(histories, addresses), histories.behaviours, strict=True)
    return [
        row | {"source_offset": number, BEHAVIOUR: behaviour}
        for number, (message, behaviour) in enumerate(pairs)
        for row in _rows(message, until)
    ]


def _rows(message: Mapping[str, Any], until: int) -> list[Row]:
    shared = {
        "wallet_key": message["wallet_address"],
        "wallet_address": message["wallet_address"],
        "as_of": until,
        "source_topic": "generated",
        "source_partition": 0,
        "source_timestamp": datetime.fromtimestamp(until, UTC),
    }
    return [shared | _row(transaction) for transaction in message["data"][0]["transactions"]]


def _row(transaction: Row) -> Row:
    legs = [transaction[name] for name in LEGS_OF_ACTION[transaction["action"]]]
    row = {name: transaction[name] for name in ("document_id", "action", "timestamp")}
    for place, leg in enumerate(legs):
        row |= {f"leg{place}_usd": leg["amountUSD"], f"leg{place}_symbol": leg["symbol"]}
    return row | {"pool_id": transaction["poolId"]}
