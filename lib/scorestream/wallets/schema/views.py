"""The views over the tables of wallets, in Spark's SQL, and the catalog of both."""

from __future__ import annotations

from typing import Final

from scorestream.infra.delta.table import Catalog, Table, View
from scorestream.infra.times import MAX_SECONDS, MIN_SECONDS
from scorestream.wallets.core import schemas
from scorestream.wallets.schema.columns import COMMENTS
from scorestream.wallets.schema.tables import SCORES, TABLES, TRANSACTIONS

# Addresses are stored as given; one wallet goes by the lower-case form of 0x... hex. Without `$`:
# in Java it also stands before a line break that ends the text.
WALLET_KEY: Final = (
    "if(wallet_address rlike '^0[xX]' AND NOT substring(wallet_address, 3) rlike '[^0-9a-fA-F]', "
    "lower(wallet_address), wallet_address)"
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


# Which row of a transaction counts: the order of core/history.py; the rest only settles ties.
_LAST_KNOWN: Final = """
  source_timestamp DESC, source_topic DESC, source_partition DESC, source_offset DESC,
  timestamp DESC, action DESC, pool_id DESC,
  coalesce(token_in.amount_usd, token0.amount_usd, 0) DESC,
  coalesce(token_out.amount_usd, token1.amount_usd, 0) DESC,
  coalesce(token_in.symbol, token0.symbol) DESC, coalesce(token_out.symbol, token1.symbol) DESC,
  usd_value DESC, protocol DESC, pool_name DESC, caller DESC, chain_id DESC, ingested_at DESC,
  coalesce(token_in.amount, token0.amount) DESC, coalesce(token_out.amount, token1.amount) DESC,
  coalesce(token_in.address, token0.address) DESC,
  coalesce(token_out.address, token1.address) DESC"""


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
QUALIFY row_number() OVER (PARTITION BY wallet_key, document_id ORDER BY {_LAST_KNOWN}) = 1
"""


def newest_by_wallet(scores: str) -> str:
    """SQL of one row a wallet and scoring: the newest by as_of, then by what made it.

    Args:
        scores: a table, a query in parentheses or a placeholder of one, of columns of `scores`.
    """
    return f"""
SELECT * FROM {scores}
QUALIFY row_number() OVER (
  PARTITION BY wallet_key, scoring
  ORDER BY as_of DESC, source_timestamp DESC, scored_at DESC,
    source_topic DESC, source_partition DESC, source_offset DESC) = 1
"""


# Scores of earlier versions may have an `as_of` that no calendar has.
_AS_OF_TIME: Final = (
    f"CASE WHEN as_of BETWEEN {MIN_SECONDS} AND {MAX_SECONDS} THEN timestamp_seconds(as_of) END"
)
_LATEST_SCORES = newest_by_wallet(_keyed(SCORES))
_SCORE_HISTORY = f"""
SELECT wallet_address, scoring, {_AS_OF_TIME} AS as_of_time, as_of, zscore, final_score,
  final_score - lag(final_score) OVER (
    PARTITION BY wallet_key, scoring
    ORDER BY as_of, source_timestamp, scored_at, source_topic, source_partition, source_offset
  ) AS change,
  lp_score, swap_score, transaction_count, tags, config_hash, code_version, scored_at, wallet_key
FROM {_keyed(SCORES)}
"""
_LATEST_THRESHOLDS = """
SELECT * FROM protocol_thresholds
QUALIFY row_number() OVER (PARTITION BY protocol, feature ORDER BY as_of DESC) = 1
"""
_LEADERBOARD = """
SELECT rank() OVER (PARTITION BY scoring ORDER BY zscore DESC) AS rank,
  wallet_address, scoring, zscore, lp_score, swap_score, transaction_count, tags, features,
  breakdown, as_of, wallet_key
FROM latest_scores
"""
# No scoring model made the rejects of a day: in a row of each, they would count once a model.
_DAILY_SUMMARY = f"""
SELECT scored_date AS day, scoring, count(*) AS scores,
  count(DISTINCT coalesce(wallet_key, {WALLET_KEY})) AS wallets, avg(final_score) AS mean_score,
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


def _view(name: str, sql: str, comment: str) -> View:
    return View(name, sql, comment, COMMENTS)


VIEWS: Final = (
    _view(
        "wallet_transactions",
        _WALLET_TRANSACTIONS,
        "the transactions in effect: each wallet and document once, as it was last known",
    ),
    _view("latest_scores", _LATEST_SCORES, "the newest score of each wallet and scoring model"),
    _view("score_history", _SCORE_HISTORY, "every score of a wallet with its change"),
    _view("leaderboard", _LEADERBOARD, "wallets ranked by their latest score"),
    _view("latest_thresholds", _LATEST_THRESHOLDS, "the thresholds that count"),
    _view(
        "daily_summary",
        _DAILY_SUMMARY,
        "a day's scores by scoring model, and its rejects in a row without one",
    ),
    _view("reject_summary", _REJECT_SUMMARY, "why messages were rejected, a day and cause"),
)
CATALOG: Final = Catalog(TABLES, VIEWS)
