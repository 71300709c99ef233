"""The Delta tables and the views over them: names, columns and comments, declared once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from scorestream.core import schemas
from scorestream.core.messages import MAX_SECONDS, MIN_SECONDS

RUN_COLUMNS: Final = (("run_id", pa.string()), ("batch_id", pa.int64()))

_OF_A_BATCH: Final = ("scores", "rejects", "transactions")
GENERATION: Final = ("generation", pa.int32())

PERCENTILES: Final = (1, 5, 10, 25, 50, 75, 90, 95, 99)

# A column of the same name means the same in every table and view.
COMMENTS: Final = {
    "wallet_address": "address as the message gave it",
    "wallet_key": "which wallet it is: the lower-case form of 0x... hex, else the address as given",
    "as_of": "unix seconds: the moment the row speaks of (the Kafka record's timestamp, floored)",
    "transaction_count": "transactions that the score is of; of a reject, those of the message",
    "first_transaction_at": "when the first transaction was that the score is of (UTC)",
    "last_transaction_at": "when the last transaction was that the score is of (UTC)",
    "zscore": "final score with exactly 18 decimals",
    "lp_score": "score of providing liquidity",
    "swap_score": "score of swapping",
    "final_score": "LP and swap score, weighted",
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
    "generation": "which pass over the topic scored it: 0, and one more with each --reprocess",
    "scored_at": "when the micro-batch was scored",
    "scored_date": "date of scored_at (UTC)",
    "document_id": "id of the transaction, unique per wallet",
    "action": "swap, deposit, withdraw; any other has no USD value",
    "timestamp": "unix seconds of the transaction",
    "protocol": "protocol as the message named it",
    "pool_id": "address or id of the pool",
    "pool_name": "name of the pool",
    "caller": "address that called the protocol",
    "chain_id": "number of the chain, 1 is Ethereum",
    "usd_value": "USD value: larger leg of a swap, both legs of a deposit or withdraw, else null",
    "token0": "first leg of a deposit or withdraw; amount is text in raw token units",
    "token1": "second leg of a deposit or withdraw",
    "token_in": "leg that went into a swap; amount is text in raw token units",
    "token_out": "leg that came out of a swap",
    "ingested_at": "when the micro-batch was scored that brought the row",
    "value": "raw bytes of the message",
    "key": "raw key of the message",
    "error_code": "stable cause, see docs/messages.md",
    "error": "what is wrong, with the path of the first problem",
    "attempt": "how often the message had been replayed before this reject",
    "rejected_at": "when the micro-batch was scored that rejected the message",
    "state": "planned, then sent",
    "replay_id": "which run of replay_rejects",
    "topic_ends": "ends of the input topic's partitions before the first was sent, JSON",
    "recorded_at": "when it was recorded; nothing goes by it",
    "topic_id": "the cluster's id of the topic, another one after it was recreated",
    "sequence": "number of the record; the greatest of a generation counts",
    "settled": "whether all that the tables hold of the generation was delivered then",
    "start_offset": "where the stream began in the partition",
    "end_offset": "all offsets before this one are stored and published",
    **{f"{name}_version": f"version of {name} when it was recorded" for name in _OF_A_BATCH},
    **{
        f"{name}_attempt": f"sequence by which {name} took the newest batch of the pass"
        for name in _OF_A_BATCH
    },
    "address": "address of the token",
    "symbol": "symbol of the token",
    "decimals": "a whole token is 10^decimals raw units",
    "stable": "whether it is a stable coin",
    "feature": "name of the feature",
    **{f"p{percent}": f"percentile {percent} of the feature" for percent in PERCENTILES},
    "n": "wallets that the percentiles are of",
    # Of the views alone.
    "times_seen": "rows that the table has of the transaction",
    "corrected": "whether it came with different contents",
    "rank": "1 is the best of the scoring model; equal scores share a rank",
    "as_of_time": "as_of as a timestamp",
    "change": "final_score less that of the score before; null in the first",
    "day": "date (UTC) of scored_at or rejected_at",
    "scores": "messages scored",
    "wallets": "distinct wallets of the row: those of two rows do not add up",
    "mean_score": "mean of final_score",
    "median_score": "median of final_score",
    "transactions": "sum of transaction_count",
    "rejects": "messages rejected; in daily_summary in the row of the day without a scoring",
    "first_seen": "first rejected_at",
    "last_seen": "last rejected_at",
    "example": "one of the errors",
}


@dataclass(frozen=True)
class Addresses:
    """Where the rows of a table may hold a wallet's address: what `forget --wallet` does there.

    Attributes:
        wallet: columns that say whose a row is; the wallet's rows go.
        raw: columns that may hold it in any form; where `wallet` says nobody, the row goes with it.
        others: columns in which rows of others may name it; those stay, which `forget` says.
    """

    wallet: tuple[str, ...] = ()
    raw: tuple[str, ...] = ()
    others: tuple[str, ...] = ()

    @property
    def decisive(self) -> tuple[str, ...]:
        """The columns that tell whether a row goes."""
        return (*self.wallet, *self.raw)


NO_ADDRESSES: Final = Addresses()
WALLET_COLUMNS: Final = ("wallet_address", "wallet_key")


def addresses_anywhere(columns: pa.Schema) -> Addresses:
    """For tables whose columns the user chooses: all columns but numbers may hold an address."""
    wallet = tuple(name for name in WALLET_COLUMNS if name in columns.names)
    texts = (field.name for field in columns if not _is_plain(field.type))
    return Addresses(wallet, tuple(name for name in texts if name not in wallet))


def _is_plain(kind: pa.DataType) -> bool:
    return bool(pa.types.is_primitive(kind) or pa.types.is_decimal(kind) or pa.types.is_null(kind))


@dataclass(frozen=True)
class Table:
    """A Delta table.

    Attributes:
        columns: in order.
        comment: what it is for.
        addresses: where its rows may hold a wallet's address.
        younger: columns that tables of an earlier version lack; they are added, and null there.
    """

    name: str
    columns: pa.Schema
    comment: str
    addresses: Addresses
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
            *schemas.TRANSACTION_TIMES,
            GENERATION,
        ]
    ),
    "one row a scored message, append-only",
    Addresses(wallet=WALLET_COLUMNS),
    frozenset({"wallet_key", *dict(schemas.TRANSACTION_TIMES), "generation"}),
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
    frozenset({"wallet_key", "generation"}),
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
            GENERATION,
        ]
    ),
    "one row a message that could not be scored, with its raw bytes",
    Addresses(wallet=("wallet_address",), raw=("value", "key", "error")),
    frozenset({"generation"}),
)
COVERAGE: Final = Table(
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
            *((f"{name}_version", pa.int64()) for name in _OF_A_BATCH),
            *((f"{name}_attempt", pa.int64()) for name in _OF_A_BATCH),
            ("settled", pa.bool_()),
            ("recorded_at", schemas.UTC_TIMESTAMP),
        ]
    ),
    "which offsets of the input topic are stored and published: one record a batch",
    NO_ADDRESSES,
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
    NO_ADDRESSES,
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
    "reference data of the last run: tokens, and which of them are stable coins",
    # Of contracts.
    Addresses(others=("address",)),
)
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
    NO_ADDRESSES,
)
# Addresses are stored as given; one wallet goes by the lower-case form of 0x... hex. Without `$`:
# in Java it also stands before a line break that ends the text.
WALLET_KEY: Final = (
    "if(wallet_address rlike '^0[xX]' AND NOT substring(wallet_address, 3) rlike '[^0-9a-fA-F]', "
    "lower(wallet_address), wallet_address)"
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


@dataclass(frozen=True)
class View:
    """A view over the tables and over the views declared before it.

    Attributes:
        sql: Spark's; `io/delta/duck.py` translates it for DuckDB.
        comment: what it is for.
    """

    name: str
    sql: str
    comment: str


VIEWS: Final = (
    View(
        "wallet_transactions",
        _WALLET_TRANSACTIONS,
        "the transactions in effect: each wallet and document once, as it was last known",
    ),
    View("latest_scores", _LATEST_SCORES, "the newest score of each wallet and scoring model"),
    View("score_history", _SCORE_HISTORY, "every score of a wallet with its change"),
    View("leaderboard", _LEADERBOARD, "wallets ranked by their latest score"),
    View("latest_thresholds", _LATEST_THRESHOLDS, "the thresholds that count"),
    View(
        "daily_summary",
        _DAILY_SUMMARY,
        "a day's scores by scoring model, and its rejects in a row without one",
    ),
    View("reject_summary", _REJECT_SUMMARY, "why messages were rejected, a day and cause"),
)
# Names of all that can be read.
RELATIONS: Final = frozenset(item.name for item in (*TABLES, *VIEWS))
