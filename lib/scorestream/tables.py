"""The Delta tables and the views over them: names, columns and comments, declared once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import pyarrow as pa

from scorestream.core import schemas

RUN_COLUMNS: Final = (("run_id", pa.string()), ("batch_id", pa.int64()))

COMMENTS: Final = {
    "wallet_address": "address as the message gave it",
    "wallet_key": "which wallet it is: the lower-case form of 0x... hex, else the address as given",
    "as_of": "unix seconds: the moment the row speaks of (the Kafka record's timestamp, floored)",
    "zscore": "final score with exactly 18 decimals",
    "tags": "labels earned, in the order of the ladders of the scoring model",
    "features": "what the score is computed from",
    "breakdown": "points of each part of the LP and the swap score",
    "models": "registered models applied: name -> version and value",
    "scoring": "name of the scoring model",
    "config_hash": "changes whenever a constant of the scoring model or a stable symbol does",
    "code_version": "version and commit of the code that scored",
    "processing_time_ms": "milliseconds from the start of the micro-batch until it is scored",
    "source_topic": "Kafka topic; in a backfill file URI, or transactions:TOPIC from the table",
    "source_partition": "Kafka partition, or 0 in a backfill",
    "source_offset": "Kafka offset, or byte offset of the line in a backfill",
    "source_timestamp": "timestamp of the Kafka record",
    "run_id": "id of the streaming query, or of the backfill",
    "batch_id": "micro-batch of the run",
    "scored_at": "when the micro-batch was scored",
    "scored_date": "date of scored_at (UTC)",
    "document_id": "id of the transaction, unique per wallet",
    "timestamp": "unix seconds of the transaction",
    "usd_value": "USD value: larger leg of a swap, both legs of a deposit or withdraw, else null",
    "token0": "first leg of a deposit or withdraw; amount is text in raw token units",
    "token1": "second leg of a deposit or withdraw",
    "token_in": "leg that went into a swap; amount is text in raw token units",
    "token_out": "leg that came out of a swap",
    "value": "raw bytes of the message",
    "key": "raw key of the message",
    "error_code": "stable cause, see docs/messages.md",
    "error": "what is wrong, with the path of the first problem",
    "attempt": "how often the message had been replayed before this reject",
}


@dataclass(frozen=True)
class Table:
    """A Delta table.

    Attributes:
        columns: in order.
        comment: what it is for.
        younger: columns that tables of an earlier version lack; they are added, and null there.
    """

    name: str
    columns: pa.Schema
    comment: str
    younger: frozenset[str] = frozenset()


SCORES: Final = Table(
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
        ]
    ),
    "one row a scored message, append-only",
    frozenset({"wallet_key"}),
)
TRANSACTIONS: Final = Table(
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
        ]
    ),
    "one row a transaction of a scored message: the exploded history",
    frozenset({"wallet_key"}),
)
# Which of its columns a leg of the exploded form is in: for a swap, for a deposit or withdraw.
LEGS_OF_ROWS: Final = {"leg0": ("token_in", "token0"), "leg1": ("token_out", "token1")}
REJECTS: Final = Table(
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
        ]
    ),
    "one row a message that could not be scored, with its raw bytes",
)
REPLAYS: Final = Table(
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
)
TOKENS: Final = Table(
    "tokens",
    pa.schema(
        [
            ("address", pa.string()),
            ("symbol", pa.string()),
            ("decimals", pa.int32()),
            ("stable", pa.bool_()),
        ]
    ),
    "reference data: tokens, and which of them are stable coins",
)
PERCENTILES: Final = (1, 5, 10, 25, 50, 75, 90, 95, 99)
PROTOCOL_THRESHOLDS: Final = Table(
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
)
# Addresses are stored as given; one wallet goes by the lower-case form of 0x... hex.
WALLET_KEY: Final = (
    "if(wallet_address rlike '^0[xX][0-9a-fA-F]*$', lower(wallet_address), wallet_address)"
)
TABLES: Final = (SCORES, TRANSACTIONS, REJECTS, REPLAYS, TOKENS, PROTOCOL_THRESHOLDS)


def newest_by_wallet(scores: str) -> str:
    """SQL of one row a wallet and scoring: the newest by as_of, then scored_at, then source.

    Args:
        scores: a table, a query in parentheses or a placeholder of one, of columns of `scores`.
    """
    return f"""
SELECT * EXCEPT (newest) FROM (
  SELECT *, row_number() OVER (
    PARTITION BY {WALLET_KEY}, scoring
    ORDER BY as_of DESC, scored_at DESC, source_topic, source_partition, source_offset DESC
  ) AS newest FROM {scores})
WHERE newest = 1
"""


_LATEST_SCORES = newest_by_wallet("scores")
_SCORE_HISTORY = f"""
SELECT wallet_address, scoring, timestamp_seconds(as_of) AS as_of_time, as_of, zscore, final_score,
  final_score - lag(final_score) OVER (
    PARTITION BY {WALLET_KEY}, scoring ORDER BY as_of, scored_at) AS change,
  lp_score, swap_score, transaction_count, tags, config_hash, code_version, scored_at
FROM scores
"""
_LATEST_THRESHOLDS = """
SELECT * EXCEPT (newest) FROM (
  SELECT *, row_number() OVER (PARTITION BY protocol, feature ORDER BY as_of DESC) AS newest
  FROM protocol_thresholds)
WHERE newest = 1
"""
_LEADERBOARD = """
SELECT rank() OVER (PARTITION BY scoring ORDER BY zscore DESC) AS rank,
  wallet_address, scoring, zscore, lp_score, swap_score, transaction_count, tags, features,
  breakdown, as_of
FROM latest_scores
"""
_DAILY_SUMMARY = """
SELECT coalesce(s.day, r.day) AS day, s.scoring, coalesce(s.scores, 0) AS scores, s.wallets,
  s.mean_score, s.median_score, s.transactions, coalesce(r.rejects, 0) AS rejects
FROM (
  SELECT scored_date AS day, scoring, count(*) AS scores,
    count(DISTINCT wallet_address) AS wallets, avg(final_score) AS mean_score,
    median(final_score) AS median_score, sum(transaction_count) AS transactions
  FROM scores GROUP BY ALL) s
FULL OUTER JOIN (
  SELECT to_date(rejected_at) AS day, count(*) AS rejects FROM rejects GROUP BY ALL) r
ON s.day = r.day
"""


@dataclass(frozen=True)
class View:
    """A view over the tables and over the views declared before it."""

    name: str
    sql: str
    comment: str = field(default="")


VIEWS: Final = (
    View("latest_scores", _LATEST_SCORES, "the newest score of each wallet and scoring model"),
    View("score_history", _SCORE_HISTORY, "every score of a wallet with its change"),
    View("leaderboard", _LEADERBOARD, "wallets ranked by their latest score"),
    View("latest_thresholds", _LATEST_THRESHOLDS, "the thresholds that count"),
    View("daily_summary", _DAILY_SUMMARY, "scores and rejects a day"),
)
