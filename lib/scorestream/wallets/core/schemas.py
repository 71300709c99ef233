"""Every schema, declared once, in Arrow. Spark and Delta schemas are derived from these.

Times named ``timestamp`` and ``as_of`` are whole unix seconds (int64); columns ``*_at`` and
``source_timestamp`` are UTC timestamps. Amounts are text: raw token units reach 2^256-1.
"""

from __future__ import annotations

import pyarrow as pa

UTC_TIMESTAMP = pa.timestamp("us", tz="UTC")
ZSCORE = pa.decimal128(38, 18)

# A leg as the history table holds it. `amount` is raw token units as decimal text.
LEG = pa.struct(
    [
        ("amount", pa.string()),
        ("amount_usd", pa.float64()),
        ("address", pa.string()),
        ("symbol", pa.string()),
    ]
)

# The exploded form inside the core: one row a dexes transaction, grouped by `message` (the row of
# the batch it came in). Legs are flat, in the order the action names them: in/out or 0/1.
SCORING_ROWS = pa.schema(
    [
        ("message", pa.int32()),
        ("action", pa.string()),
        ("timestamp", pa.int64()),
        ("pool_id", pa.string()),
        ("leg0_usd", pa.float64()),
        ("leg0_symbol", pa.string()),
        ("leg1_usd", pa.float64()),
        ("leg1_symbol", pa.string()),
    ]
)
# What a scoring model is given of each transaction: of `SCORING_ROWS` what counts, and what
# `core.actions` computes.
MODEL_ROWS = pa.schema(
    [
        ("message", pa.int32()),
        ("timestamp", pa.int64()),
        ("pool_id", pa.string()),
        ("leg0_symbol", pa.string()),
        ("leg1_symbol", pa.string()),
        ("action_code", pa.int32()),
        ("usd_value", pa.float64()),
    ]
)
HISTORY_ROWS = pa.schema(
    [
        *SCORING_ROWS,
        ("document_id", pa.string()),
        ("protocol", pa.string()),
        ("pool_name", pa.string()),
        ("caller", pa.string()),
        ("chain_id", pa.int64()),
        ("leg0_amount", pa.string()),
        ("leg0_address", pa.string()),
        ("leg1_amount", pa.string()),
        ("leg1_address", pa.string()),
    ]
)

# One transaction as the `transactions` table holds it (its wallet and source come beside it).
TRANSACTION = pa.struct(
    [
        ("document_id", pa.string()),
        ("action", pa.string()),
        ("timestamp", pa.int64()),
        ("protocol", pa.string()),
        ("pool_id", pa.string()),
        ("pool_name", pa.string()),
        ("caller", pa.string()),
        ("chain_id", pa.int64()),
        ("usd_value", pa.float64()),
        ("token0", LEG),
        ("token1", LEG),
        ("token_in", LEG),
        ("token_out", LEG),
    ]
)

# What every result of the core begins with. `position` is the row of the message in its batch.
_MESSAGE = [("position", pa.int64()), ("wallet_address", pa.string()), ("as_of", pa.int64())]
_WALLET_KEY = ("wallet_key", pa.string())
# Of the transactions that a score is of.
TRANSACTION_TIMES = [
    ("first_transaction_at", UTC_TIMESTAMP),
    ("last_transaction_at", UTC_TIMESTAMP),
]

# What a scored message is; its score comes beside it (`score_columns`).
SCORED_MESSAGE = pa.schema(
    [*_MESSAGE, _WALLET_KEY, ("transaction_count", pa.int64()), *TRANSACTION_TIMES]
)
REJECTED = pa.schema(
    [
        *_MESSAGE,
        ("transaction_count", pa.int64()),
        ("error_code", pa.string()),
        ("error", pa.string()),
        ("category", pa.string()),
        ("scoring", pa.string()),
    ]
)
HISTORY = pa.schema([*_MESSAGE, _WALLET_KEY, *TRANSACTION])

# Where a message came from.
SOURCE = [
    ("source_topic", pa.string()),
    ("source_partition", pa.int32()),
    ("source_offset", pa.int64()),
    ("source_timestamp", UTC_TIMESTAMP),
]

# Transactions of wallets from many messages, as wallets are scored over their history.
WALLET_ROWS = pa.schema(
    [
        _WALLET_KEY,
        ("wallet_address", pa.string()),
        ("document_id", pa.string()),
        *(field for field in SCORING_ROWS if field.name != "message"),
        ("as_of", pa.int64()),
        *SOURCE,
    ]
)
