"""The views over the tables of wallets, in Spark's SQL, and the catalog of both."""

from __future__ import annotations

from typing import Final

from scorestream.infra.delta.table import Catalog, Table, View
from scorestream.infra.times import MAX_SECONDS, MIN_SECONDS
from scorestream.wallets.core import rules, schemas
from scorestream.wallets.schema.sql_rules import (
    FLAT_COLUMNS,
    STORED_WALLET_KEY,
    WALLET_KEY,
    row_number,
)
from scorestream.wallets.schema.tables import (
    PARTIAL_SCORES,
    PROTOCOL_THRESHOLDS,
    REJECTS,
    SCORES,
    TABLES,
    TRANSACTIONS,
)


def _keyed(table: Table) -> str:
    """The table's rows; those of an earlier version get the `wallet_key` that they lack.

    One branch has the plain column, so that files are skipped by it.
    """
    others = ", ".join(name for name in table.columns.names if name != "wallet_key")
    return f"""(
  SELECT {others}, wallet_key FROM {table.name} WHERE wallet_key IS NOT NULL
  UNION ALL
  SELECT {others}, {WALLET_KEY} AS wallet_key FROM {table.name} WHERE wallet_key IS NULL)"""


def _content() -> str:
    """SQL of all that a transaction says, and of where nulls are: Spark's hash passes over them."""
    fields = [field for field in schemas.TRANSACTION if field.name != "document_id"]
    values = [field.name for field in fields]
    legs = [field.name for field in fields if field.type == schemas.LEG]
    leaves = [*values, *(f"{leg}.{part.name}" for leg in legs for part in schemas.LEG)]
    return ", ".join([*values, *(f"{leaf} IS NULL" for leaf in leaves)])


_WALLET_TRANSACTIONS = f"""
SELECT {", ".join(TRANSACTIONS.columns.names)},
  count(*) OVER (PARTITION BY wallet_key, document_id) AS times_seen,
  min(content) OVER (PARTITION BY wallet_key, document_id)
    <> max(content) OVER (PARTITION BY wallet_key, document_id) AS corrected
FROM (SELECT *, xxhash64(struct({_content()})) AS content FROM {_keyed(TRANSACTIONS)})
QUALIFY {row_number("wallet_key, document_id", rules.ROW_ORDER, FLAT_COLUMNS)} = 1
"""


def newest_by_wallet(scores: str) -> str:
    """SQL of the newest score of each wallet and scoring model.

    Args:
        scores: a table, a query in parentheses or a placeholder of one, of columns of `scores`.
    """
    return f"""
SELECT * FROM {scores}
QUALIFY {row_number("wallet_key, scoring", rules.SCORE_ORDER)} = 1
"""


# Scores of earlier versions may have an `as_of` that no calendar has.
_AS_OF_TIME: Final = (
    f"CASE WHEN as_of BETWEEN {MIN_SECONDS} AND {MAX_SECONDS} THEN timestamp_seconds(as_of) END"
)
_LATEST_SCORES = newest_by_wallet(_keyed(SCORES))
_PARTIAL_SCORES: Final = ", ".join(each.column for each in PARTIAL_SCORES)
_SCORE_HISTORY = f"""
SELECT wallet_address, scoring, {_AS_OF_TIME} AS as_of_time, as_of, zscore, final_score,
  final_score - lag(final_score) OVER (
    PARTITION BY wallet_key, scoring ORDER BY {", ".join(rules.SCORE_ORDER)}
  ) AS change,
  {_PARTIAL_SCORES}, transaction_count, tags, config_hash, code_version, scored_at, wallet_key
FROM {_keyed(SCORES)}
"""
_LATEST_THRESHOLDS = f"""
SELECT * FROM protocol_thresholds
QUALIFY {row_number("protocol, feature", ["as_of"])} = 1
"""
_LEADERBOARD = f"""
SELECT rank() OVER (PARTITION BY scoring ORDER BY zscore DESC) AS rank,
  wallet_address, scoring, zscore, {_PARTIAL_SCORES}, transaction_count, tags, features,
  breakdown, as_of, wallet_key
FROM latest_scores
"""
# Most rejects are of no scoring: in a row of each, they would count once a scoring.
_DAILY_SUMMARY = f"""
SELECT scored_date AS day, scoring, count(*) AS scores,
  count(DISTINCT {STORED_WALLET_KEY}) AS wallets, avg(final_score) AS mean_score,
  median(final_score) AS median_score, sum(transaction_count) AS transactions,
  CAST(0 AS BIGINT) AS rejects
FROM scores GROUP BY scored_date, scoring
UNION ALL
SELECT CAST(rejected_at AS DATE) AS day, CAST(NULL AS STRING) AS scoring,
  CAST(0 AS BIGINT) AS scores, CAST(0 AS BIGINT) AS wallets, CAST(NULL AS DOUBLE) AS mean_score,
  CAST(NULL AS DOUBLE) AS median_score, CAST(0 AS BIGINT) AS transactions, count(*) AS rejects
FROM rejects GROUP BY CAST(rejected_at AS DATE)
"""
_REJECT_SUMMARY = f"""
SELECT CAST(rejected_at AS DATE) AS day, error_code, count(*) AS rejects,
  count(DISTINCT {WALLET_KEY}) AS wallets, min(rejected_at) AS first_seen,
  max(rejected_at) AS last_seen, min(error) AS example
FROM rejects GROUP BY ALL
"""


# A column that comes from a table means what it does there.
_OF_SCORES: Final = SCORES.column_comments
_WALLETS: Final = "distinct wallets of the row: those of two rows do not add up"
VIEWS: Final = (
    View(
        "wallet_transactions",
        _WALLET_TRANSACTIONS,
        "the transactions in effect: each wallet and document once, as it was last known",
        {
            **TRANSACTIONS.column_comments,
            "times_seen": "rows that the table has of the transaction",
            "corrected": "whether it came with different contents",
        },
    ),
    View(
        "latest_scores",
        _LATEST_SCORES,
        "the newest score of each wallet and scoring model",
        _OF_SCORES,
    ),
    View(
        "score_history",
        _SCORE_HISTORY,
        "every score of a wallet with its change",
        {
            **_OF_SCORES,
            "as_of_time": "as_of as a timestamp",
            "change": "final_score less that of the score before; null in the first",
        },
    ),
    View(
        "leaderboard",
        _LEADERBOARD,
        "wallets ranked by their latest score",
        {
            **_OF_SCORES,
            "rank": "1 is the best of the scoring model; equal scores share a rank",
        },
    ),
    View(
        "latest_thresholds",
        _LATEST_THRESHOLDS,
        "the thresholds that count",
        PROTOCOL_THRESHOLDS.column_comments,
    ),
    View(
        "daily_summary",
        _DAILY_SUMMARY,
        "a day's scores by scoring model, and its rejects in a row without one",
        {
            "day": "date (UTC) of scored_at or rejected_at",
            "scoring": _OF_SCORES["scoring"],
            "scores": "messages scored",
            "wallets": _WALLETS,
            "mean_score": "mean of final_score",
            "median_score": "median of final_score",
            "transactions": "sum of transaction_count",
            "rejects": "rejects of messages, in the row of the day without a scoring",
        },
    ),
    View(
        "reject_summary",
        _REJECT_SUMMARY,
        "why messages were rejected, a day and cause",
        {
            "day": "date (UTC) of rejected_at",
            "error_code": REJECTS.column_comments["error_code"],
            "rejects": "messages rejected",
            "wallets": _WALLETS,
            "first_seen": "first rejected_at",
            "last_seen": "last rejected_at",
            "example": "one of the errors",
        },
    ),
)
CATALOG: Final = Catalog(TABLES, VIEWS)
