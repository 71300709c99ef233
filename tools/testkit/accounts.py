"""The views told again in plain Python, each from the rows of the tables that it is of.

Rows are dicts by column, as Arrow gives them. Of rows that sort, null comes before all values.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping
from datetime import UTC, date, datetime
from statistics import fmean, median
from typing import Any, Final

from scorestream.wallets.core import schemas
from scorestream.wallets.core.wallet_keys import wallet_key
from scorestream.wallets.schema.tables import TRANSACTIONS

Row = dict[str, Any]
Rows = list[Row]
Tables = Mapping[str, Rows]

_SOURCE: Final = ("source_topic", "source_partition", "source_offset")
_HISTORY: Final = (
    "wallet_address",
    "scoring",
    "as_of",
    "zscore",
    "final_score",
    "lp_score",
    "swap_score",
    "transaction_count",
    "tags",
    "config_hash",
    "code_version",
    "scored_at",
    "wallet_key",
)
_RANKED: Final = (
    "wallet_address",
    "scoring",
    "zscore",
    "lp_score",
    "swap_score",
    "transaction_count",
    "tags",
    "features",
    "breakdown",
    "as_of",
    "wallet_key",
)
_SCALARS: Final = ("usd_value", "protocol", "pool_name", "caller", "chain_id", "ingested_at")


def latest_scores(tables: Tables) -> Rows:
    """Of each wallet and scoring model the score that is newest."""
    return [scores[-1] for scores in _by_wallet(tables).values()]


def score_history(tables: Tables) -> Rows:
    """All scores, each with what it is above that before it."""
    result = []
    for scores in _by_wallet(tables).values():
        for before, score in zip([None, *scores], scores, strict=False):
            row = {name: score[name] for name in _HISTORY}
            row["as_of_time"] = datetime.fromtimestamp(score["as_of"], UTC)
            row["change"] = score["final_score"] - before["final_score"] if before else None
            result.append(row)
    return result


def leaderboard(tables: Tables) -> Rows:
    """Newest scores, each with one more than how many of its scoring model are better."""
    latest = latest_scores(tables)
    return [
        {name: row[name] for name in _RANKED}
        | {
            "rank": 1
            + sum(
                other["scoring"] == row["scoring"] and other["zscore"] > row["zscore"]
                for other in latest
            )
        }
        for row in latest
    ]


def wallet_transactions(tables: Tables) -> Rows:
    """Of each wallet and document the row that counts, and what is told of all of them."""
    result = []
    rows = map(_keyed, tables["transactions"])
    for same in _grouped(rows, lambda row: (row["wallet_key"], row["document_id"])).values():
        contents = [[row[f.name] for f in schemas.TRANSACTION] for row in same]
        last = max(same, key=_known)
        told = {name: last[name] for name in TRANSACTIONS.columns.names}
        corrected = any(content != contents[0] for content in contents)
        result.append(told | {"times_seen": len(same), "corrected": corrected})
    return result


def latest_thresholds(tables: Tables) -> Rows:
    """Of each protocol and feature the thresholds of the newest moment."""
    same = _grouped(tables["protocol_thresholds"], lambda row: (row["protocol"], row["feature"]))
    return [max(rows, key=lambda row: _sortable(row["as_of"])) for rows in same.values()]


def daily_summary(tables: Tables) -> Rows:
    """A row for each scoring model that scored on a day, and one for the day's rejects."""
    result = []
    scored = _grouped(tables["scores"], lambda row: (row["scored_at"].date(), row["scoring"]))
    for (day, scoring), rows in scored.items():
        values = [row["final_score"] for row in rows]
        wallets = {wallet_key(row["wallet_address"]) for row in rows}
        transactions = sum(row["transaction_count"] for row in rows)
        means = (fmean(values), median(values))
        result.append(
            _day(
                day,
                scoring,
                len(rows),
                len(wallets),
                means=means,
                transactions=transactions,
                rejects=0,
            )
        )
    for day, rows in _grouped(tables["rejects"], _rejected_on).items():
        result.append(_day(day, None, 0, 0, means=(None, None), transactions=0, rejects=len(rows)))
    return result


def reject_summary(tables: Tables) -> Rows:
    """A row for each cause that there was on a day."""
    result = []
    causes = _grouped(tables["rejects"], lambda row: (_rejected_on(row), row["error_code"]))
    for (day, code), rows in causes.items():
        addresses = {row["wallet_address"] for row in rows} - {None}
        row = {"day": day, "error_code": code, "rejects": len(rows)}
        row["wallets"] = len(set(map(wallet_key, addresses)))
        row["first_seen"] = min(row["rejected_at"] for row in rows)
        row["last_seen"] = max(row["rejected_at"] for row in rows)
        row["example"] = min(row["error"] for row in rows)
        result.append(row)
    return result


def sort_rows(rows: Rows) -> Rows:
    """Rows and their columns in one order, whatever order they came in."""
    return sorted((dict(sorted(row.items())) for row in rows), key=repr)


ACCOUNTS: Final[Mapping[str, Callable[[Tables], Rows]]] = {
    account.__name__: account
    for account in (
        latest_scores,
        score_history,
        leaderboard,
        wallet_transactions,
        latest_thresholds,
        daily_summary,
        reject_summary,
    )
}


def _day(
    day: date,
    scoring: str | None,
    scores: int,
    wallets: int,
    *,
    means: tuple[float | None, float | None],
    transactions: int,
    rejects: int,
) -> Row:
    mean, middle = means
    return {
        "day": day,
        "scoring": scoring,
        "scores": scores,
        "wallets": wallets,
        "mean_score": mean,
        "median_score": middle,
        "transactions": transactions,
        "rejects": rejects,
    }


def _rejected_on(row: Row) -> date:
    day: date = row["rejected_at"].date()
    return day


def _by_wallet(tables: Tables) -> dict[Hashable, Rows]:
    """The scores of each wallet and scoring model, the newest last."""

    def age(row: Row) -> tuple[Any, ...]:
        return tuple(row[n] for n in ("as_of", "source_timestamp", "scored_at", *_SOURCE))

    scores = sorted(map(_keyed, tables["scores"]), key=age)
    return _grouped(scores, lambda row: (row["wallet_key"], row["scoring"]))


def _known(row: Row) -> tuple[Any, ...]:
    """What the row that counts has most of: the time of its message, then what it says."""
    first, second = _legs(row)
    values = [
        *(row[name] for name in ("source_timestamp", *_SOURCE, "timestamp", "action", "pool_id")),
        first["amount_usd"] or 0,
        second["amount_usd"] or 0,
        first["symbol"],
        second["symbol"],
        *(row[name] for name in _SCALARS),
        *(leg[name] for name in ("amount", "address") for leg in (first, second)),
    ]
    return tuple(map(_sortable, values))


def _legs(row: Row) -> tuple[Row, Row]:
    names = ("token_in", "token_out") if row["token_in"] else ("token0", "token1")
    return row[names[0]], row[names[1]]


def _sortable(value: Any) -> tuple[bool, Any]:
    return (False, 0) if value is None else (True, value)


def _keyed(row: Row) -> Row:
    return row | {"wallet_key": wallet_key(row["wallet_address"])}


def _grouped(rows: Iterable[Row], key: Callable[[Row], Any]) -> dict[Any, Rows]:
    groups: defaultdict[Any, Rows] = defaultdict(list)
    for row in rows:
        groups[key(row)].append(row)
    return dict(groups)
