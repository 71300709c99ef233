"""The Delta tables of wallets: their columns with type and meaning, declared once."""

from __future__ import annotations

from typing import Final

import pyarrow as pa

from scorestream.infra.delivery.columns import RECORDED_AT, coverage_table
from scorestream.infra.delta.table import NO_IDENTIFIERS, Column, Identifiers, Table
from scorestream.wallets.core import schemas
from scorestream.wallets.core.score_columns import CATEGORIES, breakdown_type, features_type
from scorestream.wallets.core.scorer import union_of_features, union_of_partial_scores
from scorestream.wallets.schema.columns import (
    AS_OF,
    GENERATION,
    MODELS,
    PERCENTILES,
    PROCESSING_TIME,
    PROTOCOL,
    RUN,
    SOURCE,
    SOURCE_ID,
    TRANSACTION_COUNT,
    WALLET_ADDRESS,
    WALLET_KEY,
    added_later,
    described,
)
from scorestream.wallets.scorers.dex_v1.scorer import DexV1
from scorestream.wallets.scorers.registry import DECLARATIONS

# Of all scorers together: a row is null in what its own does not have.
FEATURES: Final = union_of_features(DECLARATIONS)
PARTIAL_SCORES: Final = union_of_partial_scores(DECLARATIONS)
# Every table has had these.
_FIRST: Final = {each.name for each in DexV1.declaration.partial_scores}

WALLET_COLUMNS: Final = (WALLET_ADDRESS.name, WALLET_KEY.name)

SCORES: Final = Table.of_columns(
    "scores",
    (
        WALLET_ADDRESS,
        AS_OF,
        Column("scored_at", schemas.UTC_TIMESTAMP, "when the micro-batch was scored"),
        TRANSACTION_COUNT,
        Column("zscore", schemas.ZSCORE, "final score with exactly 18 decimals"),
        *(
            Column(each.column, pa.float64(), each.meaning, added_later=each.name not in _FIRST)
            for each in PARTIAL_SCORES
        ),
        Column(
            "final_score", pa.float64(), "partial scores, weighted; of several categories theirs"
        ),
        Column("tags", pa.list_(pa.string()), "labels earned, in the order of the scoring's"),
        Column("features", features_type(FEATURES), "what the score is computed from", grows=True),
        Column(
            "breakdown",
            breakdown_type(PARTIAL_SCORES),
            "points of each part of a partial score",
            grows=True,
        ),
        Column("models", MODELS, "registered models applied: name -> version and value"),
        Column("scoring", pa.string(), "name of the scoring"),
        Column(
            "config_hash",
            pa.string(),
            "changes whenever a constant of the scoring or a stable symbol does",
        ),
        Column("code_version", pa.string(), "version and commit of the code that scored"),
        PROCESSING_TIME,
        *SOURCE,
        *RUN,
        Column("scored_date", pa.date32(), "date of scored_at (UTC)", statistics=True),
        *added_later(
            WALLET_KEY,
            *described(
                pa.schema(schemas.TRANSACTION_TIMES),
                {
                    "first_transaction_at": (
                        "when the first transaction was that the score is of (UTC)"
                    ),
                    "last_transaction_at": (
                        "when the last transaction was that the score is of (UTC)"
                    ),
                },
            ),
            GENERATION,
            Column("categories", CATEGORIES, "category -> its score, and transactions of it"),
        ),
    ),
    comment="one row a scored message and scoring, append-only",
    identifiers=Identifiers(owner=WALLET_COLUMNS),
    cluster_by=WALLET_KEY.name,
)
_TRANSACTION: Final = {
    "document_id": "id of the transaction, unique per wallet",
    "action": "swap, deposit, withdraw; any other has no USD value",
    "protocol": PROTOCOL.comment,
    "pool_id": "address or id of the pool",
    "pool_name": "name of the pool",
    "caller": "address that called the protocol",
    "chain_id": "number of the chain, 1 is Ethereum",
    "usd_value": "USD value: larger leg of a swap, both legs of a deposit or withdraw, else null",
    "token0": "first leg of a deposit or withdraw; amount is text in raw token units",
    "token1": "second leg of a deposit or withdraw",
    "token_in": "leg that went into a swap; amount is text in raw token units",
    "token_out": "leg that came out of a swap",
}
_TIMESTAMP: Final = Column(
    "timestamp", pa.int64(), "unix seconds of the transaction", statistics=True
)
TRANSACTIONS: Final = Table.of_columns(
    "transactions",
    (
        WALLET_ADDRESS,
        *(
            _TIMESTAMP
            if field.name == _TIMESTAMP.name
            else Column(field.name, field.type, _TRANSACTION[field.name])
            for field in schemas.TRANSACTION
        ),
        AS_OF,
        *SOURCE,
        *RUN,
        Column(
            "ingested_at",
            schemas.UTC_TIMESTAMP,
            "when the micro-batch was scored that brought the row",
        ),
        *added_later(WALLET_KEY, GENERATION),
    ),
    comment=(
        "one row a transaction of a message that counts, scored or not yet: the exploded history"
    ),
    identifiers=Identifiers(
        owner=WALLET_COLUMNS,
        mentions=(
            *("document_id", "protocol", "pool_id", "pool_name", "caller"),
            *("token0", "token1", "token_in", "token_out"),
        ),
    ),
    cluster_by=WALLET_KEY.name,
)
REJECTS: Final = Table.of_columns(
    "rejects",
    (
        Column("value", pa.binary(), "raw bytes of the message"),
        Column("key", pa.binary(), "raw key of the message"),
        Column("error_code", pa.string(), "stable cause, see docs/messages.md"),
        Column("error", pa.string(), "what is wrong, with the path of the first problem"),
        WALLET_ADDRESS,
        TRANSACTION_COUNT,
        AS_OF,
        Column("attempt", pa.int32(), "how often the message had been replayed before this reject"),
        PROCESSING_TIME,
        *SOURCE,
        *RUN,
        Column(
            "rejected_at",
            schemas.UTC_TIMESTAMP,
            "when the micro-batch was scored that rejected the message",
        ),
        *added_later(
            GENERATION,
            Column("category", pa.string(), "whose transactions are counted; null: dexes"),
            Column("scoring", pa.string(), "scoring that has no score of it; null: all have none"),
        ),
    ),
    comment="one row a message that could not be scored, with its raw bytes",
    identifiers=Identifiers(owner=("wallet_address",), raw=("value", "key", "error")),
)
# What a batch of messages is written to.
BATCH_TABLES: Final = (SCORES, REJECTS, TRANSACTIONS)
COVERAGE: Final = coverage_table("coverage", BATCH_TABLES, (*SOURCE_ID, *RUN, GENERATION))
REPLAYS: Final = Table.of_columns(
    "replays",
    (
        *SOURCE_ID,
        Column("state", pa.string(), "planned, then sent"),
        Column("replay_id", pa.string(), "which run of replay_rejects"),
        Column(
            "topic_ends",
            pa.string(),
            "ends of the input topic's partitions before the first was sent, JSON",
        ),
        RECORDED_AT,
    ),
    comment="which rejects replay_rejects sent back to the input topic: `planned`, then `sent`",
    identifiers=NO_IDENTIFIERS,
)
TOKENS: Final = Table.of_columns(
    "tokens",
    (
        Column("address", pa.string(), "address of the token"),
        Column("symbol", pa.string(), "symbol of the token"),
        Column("decimals", pa.int32(), "a whole token is 10^decimals raw units"),
        Column("stable", pa.bool_(), "whether it is a stable coin"),
    ),
    comment="reference data of the last run: tokens, and which of them are stable coins",
    # Of contracts.
    identifiers=Identifiers(mentions=("address",)),
)
PROTOCOL_THRESHOLDS: Final = Table.of_columns(
    "protocol_thresholds",
    (
        PROTOCOL,
        Column("feature", pa.string(), "name of the feature"),
        *(
            Column(f"p{percent}", pa.float64(), f"percentile {percent} of the feature")
            for percent in PERCENTILES
        ),
        Column("n", pa.int64(), "wallets that the percentiles are of"),
        AS_OF,
    ),
    comment=(
        "reference data: percentiles of each feature over the wallets of each protocol; of each "
        "the newest as_of counts"
    ),
    identifiers=NO_IDENTIFIERS,
)
TABLES: Final = (
    SCORES,
    TRANSACTIONS,
    REJECTS,
    COVERAGE,
    REPLAYS,
    TOKENS,
    PROTOCOL_THRESHOLDS,
)
