"""Generated wallets as the history that examples are made of, without Spark."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

import pyarrow as pa

from scorestream.core import schemas
from scorestream.core.history import WalletHistory, wallet_history
from scorestream.local.behaviours import Histories, draw_histories
from scorestream.local.wallets import messages_of

DAY: Final = 86_400
UNTIL: Final = 1_767_225_600
DAYS: Final = 180
Row = dict[str, Any]


def drawn(wallets: int, seed: int) -> Histories:
    return draw_histories(wallets, DAYS, UNTIL, seed)


def rows_of(histories: Histories) -> list[Row]:
    """Rows of `WALLET_ROWS` and the behaviour, as the warehouse would give them."""
    addresses = [f"0x{number:040x}" for number in range(len(histories.behaviours))]
    messages = messages_of(histories, addresses)
    return [
        row | {"behaviour": behaviour}
        for message, behaviour in zip(messages, histories.behaviours, strict=True)
        for row in _message_rows(message)
    ]


def history_of(rows: list[Row]) -> WalletHistory:
    schema = pa.schema([*schemas.WALLET_ROWS, ("behaviour", pa.string())])
    return wallet_history(pa.Table.from_pylist(rows, schema))


def _message_rows(message: Row) -> list[Row]:
    return [
        {
            "wallet_key": message["wallet_address"],
            "wallet_address": message["wallet_address"],
            "document_id": t["document_id"],
            "action": t["action"],
            "timestamp": t["timestamp"],
            "pool_id": t["poolId"],
            **_legs(t),
            "as_of": UNTIL,
            "source_topic": "in",
            "source_partition": 0,
            "source_offset": int(message["wallet_address"], 16),
            "source_timestamp": datetime.fromtimestamp(UNTIL, UTC),
        }
        for t in message["data"][0]["transactions"]
    ]


def _legs(transaction: Row) -> Row:
    names = ("tokenIn", "tokenOut") if "tokenIn" in transaction else ("token0", "token1")
    legs = {f"leg{place}": transaction[name] for place, name in enumerate(names)}
    usd = {f"{leg}_usd": values["amountUSD"] for leg, values in legs.items()}
    return usd | {f"{leg}_symbol": values["symbol"] for leg, values in legs.items()}
