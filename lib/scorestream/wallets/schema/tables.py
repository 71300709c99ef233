"""The Delta tables of wallets: names and columns, declared once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import pyarrow as pa

from scorestream.infra.delta.table import NO_ADDRESSES, Addresses, Table
from scorestream.wallets.core import schemas
from scorestream.wallets.schema.columns import COMMENTS, OF_A_BATCH, PERCENTILES, STATISTICS

RUN_COLUMNS: Final = (("run_id", pa.string()), ("batch_id", pa.int64()))
GENERATION: Final = ("generation", pa.int32())
WALLET_COLUMNS: Final = ("wallet_address", "wallet_key")


def _table(
    name: str,
    columns: pa.Schema,
    comment: str,
    addresses: Addresses,
    added_later: Iterable[str] = (),
) -> Table:
    return Table(
        name,
        columns,
        comment,
        addresses,
        added_later=frozenset(added_later),
        statistics=STATISTICS.intersection(columns.names),
        cluster_by="wallet_key" if "wallet_key" in columns.names else None,
        column_comments={name: COMMENTS[name] for name in columns.names},
    )


SCORES: Final = _table(
    "scores",
    pa.schema(
        [
            ("wallet_address", pa.string()),
            ("as_of", pa.int64()),
            ("scored_at", schemas.UTC_TIMESTAMP),
            ("transaction_count", pa.int64()),
            *schemas.SCORE,
            ("scoring", pa.string()),
            ("config_hash", pa.string()),
            ("code_version", pa.string()),
            ("processing_time_ms", pa.int64()),
            *schemas.SOURCE,
            *RUN_COLUMNS,
            ("scored_date", pa.date32()),
            ("wallet_key", pa.string()),
            *schemas.TRANSACTION_TIMES,
            GENERATION,
        ]
    ),
    "one row a scored message, append-only",
    Addresses(wallet=WALLET_COLUMNS),
    {"wallet_key", *dict(schemas.TRANSACTION_TIMES), "generation"},
)
TRANSACTIONS: Final = _table(
    "transactions",
    pa.schema(
        [
            ("wallet_address", pa.string()),
            *schemas.TRANSACTION,
            ("as_of", pa.int64()),
            *schemas.SOURCE,
            *RUN_COLUMNS,
            ("ingested_at", schemas.UTC_TIMESTAMP),
            ("wallet_key", pa.string()),
            GENERATION,
        ]
    ),
    "one row a transaction of a message that counts, scored or not yet: the exploded history",
    Addresses(
        wallet=WALLET_COLUMNS,
        others=(
            *("document_id", "protocol", "pool_id", "pool_name", "caller"),
            *("token0", "token1", "token_in", "token_out"),
        ),
    ),
    {"wallet_key", "generation"},
)
# Which of its columns a leg of the exploded form is in: for a swap, for a deposit or withdraw.
LEGS_OF_ROWS: Final = {"leg0": ("token_in", "token0"), "leg1": ("token_out", "token1")}
REJECTS: Final = _table(
    "rejects",
    pa.schema(
        [
            ("value", pa.binary()),
            ("key", pa.binary()),
            ("error_code", pa.string()),
            ("error", pa.string()),
            ("wallet_address", pa.string()),
            ("transaction_count", pa.int64()),
            ("as_of", pa.int64()),
            ("attempt", pa.int32()),
            ("processing_time_ms", pa.int64()),
            *schemas.SOURCE,
            *RUN_COLUMNS,
            ("rejected_at", schemas.UTC_TIMESTAMP),
            GENERATION,
        ]
    ),
    "one row a message that could not be scored, with its raw bytes",
    Addresses(wallet=("wallet_address",), raw=("value", "key", "error")),
    {"generation"},
)
COVERAGE: Final = _table(
    "coverage",
    pa.schema(
        [
            ("source_topic", pa.string()),
            ("topic_id", pa.string()),
            GENERATION,
            ("sequence", pa.int64()),
            ("source_partition", pa.int32()),
            ("start_offset", pa.int64()),
            ("end_offset", pa.int64()),
            *RUN_COLUMNS,
            *((f"{name}_version", pa.int64()) for name in OF_A_BATCH),
            *((f"{name}_attempt", pa.int64()) for name in OF_A_BATCH),
            ("settled", pa.bool_()),
            ("recorded_at", schemas.UTC_TIMESTAMP),
        ]
    ),
    "which offsets of the input topic are stored and published: one record a batch",
    NO_ADDRESSES,
)
REPLAYS: Final = _table(
    "replays",
    pa.schema(
        [
            ("source_topic", pa.string()),
            ("source_partition", pa.int32()),
            ("source_offset", pa.int64()),
            ("state", pa.string()),
            ("replay_id", pa.string()),
            ("topic_ends", pa.string()),
            ("recorded_at", schemas.UTC_TIMESTAMP),
        ]
    ),
    "which rejects replay_rejects sent back to the input topic: `planned`, then `sent`",
    NO_ADDRESSES,
)
TOKENS: Final = _table(
    "tokens",
    pa.schema(
        [
            ("address", pa.string()),
            ("symbol", pa.string()),
            ("decimals", pa.int32()),
            ("stable", pa.bool_()),
        ]
    ),
    "reference data of the last run: tokens, and which of them are stable coins",
    # Of contracts.
    Addresses(others=("address",)),
)
PROTOCOL_THRESHOLDS: Final = _table(
    "protocol_thresholds",
    pa.schema(
        [
            ("protocol", pa.string()),
            ("feature", pa.string()),
            *((f"p{percent}", pa.float64()) for percent in PERCENTILES),
            ("n", pa.int64()),
            ("as_of", pa.int64()),
        ]
    ),
    "reference data: percentiles of each feature over the wallets of each protocol; of each the "
    "newest as_of counts",
    NO_ADDRESSES,
)
# What a batch of messages is written to.
BATCH_TABLES: Final = (SCORES, REJECTS, TRANSACTIONS)
TABLES: Final = (
    SCORES,
    TRANSACTIONS,
    REJECTS,
    COVERAGE,
    REPLAYS,
    TOKENS,
    PROTOCOL_THRESHOLDS,
)
