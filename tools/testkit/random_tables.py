"""Random rows of the tables, of few values: so that rows meet, tie and repeat each other."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

import pyarrow as pa
from hypothesis import strategies as st

from scorestream.wallets.core.wallet_keys import wallet_key
from scorestream.wallets.schema.columns import PERCENTILES
from scorestream.wallets.schema.tables import PROTOCOL_THRESHOLDS, REJECTS, SCORES, TRANSACTIONS
from tools.testkit.accounts import Row, Rows, Tables

# Four wallets in eight spellings: 0x... without a key of its own is one whatever its case.
ADDRESSES: Final = ("0xAB", "0xab", "0XaB", "x", "X", "0xAB\n", "0xab\n", "[/x]")
MIDNIGHT: Final = datetime(2026, 1, 2, tzinfo=UTC)
DRAWN: Final = (SCORES, TRANSACTIONS, REJECTS, PROTOCOL_THRESHOLDS)

addresses = st.sampled_from(ADDRESSES)
moments = st.sampled_from([-1, 0, 1, 86_400]).map(lambda us: MIDNIGHT + timedelta(microseconds=us))
few = st.integers(0, 2)
texts = st.sampled_from([None, "a", "b"])
# Sums of such are exact in any order.
quarters = st.integers(0, 40).map(lambda n: n / 4)
sources = st.fixed_dictionaries(
    {"source_topic": st.sampled_from("tu"), "source_partition": few, "source_offset": few}
)


def _source(row: Row) -> tuple[Any, ...]:
    return row["source_topic"], row["source_partition"], row["source_offset"]


def _score(row: Row, score: float, *, keyed: bool) -> Row:
    row["final_score"] = row["lp_score"] = score
    row["zscore"] = Decimal(score).quantize(Decimal(10) ** -18)
    row["scored_date"] = row["scored_at"].date()
    row["wallet_key"] = wallet_key(row["wallet_address"]) if keyed else None
    return row


_scores = st.builds(
    lambda row, source, score, keyed: _score(row | source, score, keyed=keyed),
    st.fixed_dictionaries(
        {
            "wallet_address": addresses,
            "scoring": st.sampled_from(["a", "b"]),
            "as_of": few,
            "source_timestamp": moments,
            "scored_at": moments,
            "transaction_count": few,
            "tags": st.sampled_from([[], ["[red]"], ["a", "b"]]),
        }
    ),
    sources,
    quarters,
    st.booleans(),
)

_legs = st.fixed_dictionaries(
    {"amount": texts, "amount_usd": st.none() | quarters, "address": texts, "symbol": texts}
)


def _transaction(row: Row, first: Row, second: Row) -> Row:
    names = ("token_in", "token_out") if row["action"] == "swap" else ("token0", "token1")
    return (
        row
        | dict.fromkeys(("token0", "token1", "token_in", "token_out"))
        | {
            names[0]: first,
            names[1]: second,
        }
    )


_transactions = st.builds(
    _transaction,
    st.fixed_dictionaries(
        {
            "document_id": st.sampled_from("de"),
            "action": st.sampled_from(["swap", "deposit"]),
            "timestamp": few,
            "protocol": texts,
            "pool_id": texts,
            "pool_name": texts,
            "caller": st.none(),
            "chain_id": st.none() | few,
            "usd_value": st.none() | quarters,
        }
    ),
    _legs,
    _legs,
)
_messages = st.builds(
    lambda facts, source, keyed, rows: [
        row
        | facts
        | source
        | {"wallet_key": wallet_key(facts["wallet_address"]) if keyed else None}
        for row in rows
    ],
    st.fixed_dictionaries(
        {
            "wallet_address": addresses,
            "source_timestamp": moments,
            "ingested_at": moments,
            "as_of": few,
        }
    ),
    sources,
    st.booleans(),
    st.lists(_transactions, min_size=1, max_size=4),
)

_rejects = st.builds(
    lambda row, source: row | source,
    st.fixed_dictionaries(
        {
            "wallet_address": st.none() | addresses,
            "error_code": st.sampled_from(["invalid_json", "nothing_yet"]),
            "error": st.sampled_from(["b", "a: [/x]"]),
            "rejected_at": moments,
        }
    ),
    sources,
)
_thresholds = st.builds(
    lambda row, value: row | {f"p{percent}": value for percent in PERCENTILES},
    st.fixed_dictionaries(
        {
            "protocol": st.sampled_from(["*", "curve"]),
            "feature": st.sampled_from(["f", "g"]),
            "n": few,
            "as_of": st.none() | few,
        }
    ),
    quarters,
)


def random_tables(least: int, most: int) -> st.SearchStrategy[Tables]:
    """Tables of so many rows; of `transactions`, messages."""

    def rows(one: st.SearchStrategy[Any], key: Any) -> st.SearchStrategy[list[Any]]:
        return st.lists(one, min_size=least, max_size=most, unique_by=key)

    return st.fixed_dictionaries(
        {
            "scores": rows(_scores, lambda row: (*_source(row), row["scored_at"])),
            "transactions": rows(_messages, lambda rows: _source(rows[0])).map(_joined),
            "rejects": st.lists(_rejects, min_size=least, max_size=most),
            "protocol_thresholds": st.lists(
                _thresholds,
                max_size=most,
                unique_by=lambda row: (row["protocol"], row["feature"], row["as_of"]),
            ),
        }
    )


def _joined(messages: list[Rows]) -> Rows:
    return [row for message in messages for row in message]


def as_arrow(tables: Tables) -> dict[str, pa.Table]:
    """The same rows with all columns of their tables."""
    return {t.name: pa.Table.from_pylist(tables[t.name], schema=t.columns) for t in DRAWN}
