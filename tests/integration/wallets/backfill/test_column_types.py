"""Tables of transactions whose columns have all kinds of types give the scores of messages."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scorestream.infra.config.settings import Settings
from scorestream.infra.delta.warehouse import Warehouse
from scorestream.wallets.backfill.job import run_backfill
from scorestream.wallets.backfill.planning import BackfillOptions
from scorestream.wallets.core import schemas
from scorestream.wallets.core.score_columns import score_schema
from scorestream.wallets.schema.tables import REJECTS, SCORES, TRANSACTIONS
from scorestream.wallets.scorers.dex_v1.scorer import DexV1

pytestmark = pytest.mark.spark

NOW: Final = 1_800_000_000
TABLES: Final = 8
WHAT: Final = ["wallet_address", "transaction_count", *score_schema([DexV1.declaration]).names]
LEGS: Final = {
    "token_in": "tokenIn",
    "token_out": "tokenOut",
    "token0": "token0",
    "token1": "token1",
}
Row = dict[str, Any]
TEXTS: Final = [pa.string(), pa.large_string(), pa.dictionary(pa.int8(), pa.string())]
WHOLE: Final = [pa.int64(), pa.uint32(), pa.float64(), pa.string(), pa.decimal128(24, 2)]
# Every type that holds all values that `rows_of` makes of a column.
TYPES: Final[dict[str, list[pa.DataType]]] = {
    "wallet_address": TEXTS,
    "document_id": [*TEXTS, pa.int64(), pa.int16()],
    "action": TEXTS,
    "timestamp": [*WHOLE, pa.int32(), pa.timestamp("us"), pa.timestamp("ms", "America/New_York")],
    "protocol": TEXTS,
    "pool_id": TEXTS,
    "chain_id": [*WHOLE, pa.int8(), pa.float32()],
    "amount": [pa.int64(), pa.uint64(), pa.float64(), pa.string(), pa.decimal128(38, 6)],
    "amount_usd": [pa.float64(), pa.float32(), pa.string(), pa.decimal128(38, 18)],
    "symbol": TEXTS,
}


def rows_of(chance: random.Random, table: int) -> list[Row]:
    """Transactions of some wallets, with values in some columns only."""
    rows: list[Row] = []
    for wallet, document in [(w, d) for w in range(8) for d in range(chance.randint(1, 6))]:
        row = {
            "wallet_address": f"0x{table}{wallet}",
            "document_id": str(document),
            "action": chance.choice(["swap", "swap", "deposit", "withdraw", "borrow"]),
            "timestamp": 1_600_000_000 + chance.randrange(10**8),
            "protocol": chance.choice(["uniswap", None]),
            "pool_id": chance.choice(["0xa", "0xb", "", None, None]),
            "chain_id": chance.choice([1, 56, None]),
        }
        for leg in LEGS:
            row[f"{leg}_amount"] = chance.choice([0, 7, 10**18, None])
            row[f"{leg}_amount_usd"] = chance.choice([0.0, 0.25, 1234.5, 70_000.0, None])
            row[f"{leg}_symbol"] = chance.choice(["USDC", "WETH", "", None, None])
        rows.append(row)
    return rows


def message_of(rows: list[Row]) -> dict[str, Any]:
    """The message of a wallet: what has no value is null there, but amounts, chain and protocol."""
    transactions = []
    for row in rows:
        names = {"document_id": "document_id", "action": "action", "timestamp": "timestamp"}
        transaction = {key: row[name] for key, name in (names | {"poolId": "pool_id"}).items()}
        transaction |= {
            key: row[name]
            for key, name in (("protocol", "protocol"), ("chainId", "chain_id"))
            if row[name] is not None
        }
        for leg, key in LEGS.items():
            amounts = {"amount": row[f"{leg}_amount"], "amountUSD": row[f"{leg}_amount_usd"]}
            known = {name: value for name, value in amounts.items() if value is not None}
            transaction[key] = {**known, "address": "", "symbol": row[f"{leg}_symbol"]}
        transactions.append(transaction)
    data = [{"protocolType": "dexes", "transactions": transactions}]
    return {"wallet_address": rows[0]["wallet_address"], "data": data}


def column(values: list[Any], kind: pa.DataType) -> pa.Array:
    if pa.types.is_timestamp(kind):
        return pa.array(values, pa.timestamp("s", kind.tz)).cast(kind)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return pa.array([None if v is None else str(v) for v in values], kind)
    if pa.types.is_dictionary(kind):
        return pa.array(values, pa.string()).dictionary_encode().cast(kind)
    if any(isinstance(value, str) for value in values):
        values = [None if value is None else int(value) for value in values]
    return pa.array(values).cast(kind, safe=False)


def table_of(rows: list[Row], chance: random.Random) -> pa.Table:
    def columns() -> Iterator[tuple[str, pa.Array]]:
        for name in rows[0]:
            part = next((p for p in TYPES if name.endswith(f"_{p}")), name)
            kind = chance.choice(TYPES[part if name not in TYPES else name])
            yield name, column([row[name] for row in rows], kind)

    return pa.table(dict(columns()))


def test_the_scores_are_those_of_the_rows_as_messages_whatever_types_columns_have(
    warehouse: Warehouse, tmp_path: Path
) -> None:
    settings = Settings(scorestream_warehouse=warehouse.root)

    def run(name: str, run_id: str) -> None:
        run_backfill(BackfillOptions(f"{tmp_path}/{name}", (NOW,), run_id=run_id), settings)

    wallets: dict[str, list[Row]] = {}
    schema = {}
    for number in range(TABLES):
        chance = random.Random(number)
        rows = rows_of(chance, number)
        table = table_of(rows, chance)
        schema[number] = table.schema
        pq.write_table(table, tmp_path / f"{number}.parquet", row_group_size=7)
        for row in rows:
            wallets.setdefault(row["wallet_address"], []).append(row)
        run(f"{number}.parquet", f"table {number}")
    lines = "\n".join(json.dumps(message_of(each)) for each in wallets.values())
    (tmp_path / "messages.jsonl").write_text(lines, encoding="utf-8")
    run("messages.jsonl", "messages")
    assert warehouse.rows(REJECTS) == []
    expected = told(warehouse, "messages")
    for number in range(TABLES):
        own = [line for line in expected if f"'0x{number}" in line]
        assert own
        assert told(warehouse, f"table {number}") == own, schema[number]


def told(warehouse: Warehouse, run: str) -> list[str]:
    """What the scores of a run say, and the transactions that it took into the history."""
    scores = [r for r in warehouse.rows(SCORES) if r["run_id"] == run]
    taken = [r for r in warehouse.rows(TRANSACTIONS) if r["run_id"] == run]
    columns = [f.name for f in schemas.TRANSACTION]
    return sorted(
        [str([row[name] for name in WHAT]) for row in scores]
        + [str([row[name] for name in ("wallet_address", *columns)]) for row in taken]
    )
