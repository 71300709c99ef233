"""The scores of one scoring: of each category of the messages, and what they make together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from scorestream.wallets.core import schemas
from scorestream.wallets.core.decode import ABSENT, Decoded, Reject
from scorestream.wallets.core.score_columns import (
    CATEGORIES,
    category_schema,
    score_columns,
    scored_schema,
    zscores,
)
from scorestream.wallets.core.scorer import EntryType, Floats, Ints, Scorer
from scorestream.wallets.core.scoring import Scoring
from scorestream.wallets.core.wallet_keys import wallet_keys

NON_FINITE: Final = "a feature or score is not finite: amounts near the limit of a 64-bit float"
# What a message is by one of its categories; the scorer's columns come beside it.
_MESSAGE: Final = [
    ("position", pa.int64()),
    ("wallet_address", pa.string()),
    ("transaction_count", pa.int64()),
    *schemas.TRANSACTION_TIMES,
]
Results = tuple[pa.Table, list[Reject]]


def score_message_categories(
    decoded: Mapping[EntryType, Decoded], as_of: Ints, scoring: Scoring
) -> Results:
    """Score messages by all of their categories.

    1. Score each category; a wallet whose result is not finite is rejected.
    2. Of several categories: reject the messages of which one is invalid, and weigh the others'.
    3. Rows of `scored_schema`.

    Args:
        decoded: the entries of the messages.
        as_of: int64, unix seconds of each message, accepted or not.
        scoring: what scores them.

    Returns:
        Scores, and the rejects of all other messages.
    """
    # 1. Score each category.
    results = [
        _score_category(decoded[scorer.declaration.entry_type], as_of, scorer)
        for scorer in scoring.scorers
    ]
    # 2. Of several categories: reject the messages of which one is invalid, and weigh the others'.
    if len(results) == 1:
        [(rows, rejects)] = results
        categories = _one_category(rows, scoring.declarations[0].category)
    else:
        positions, rejects = _accepted(results)
        rows, categories = _weighed([_rows_at(rows, positions) for rows, _ in results], scoring)
    # 3. Rows of `scored_schema`.
    return _scored_rows(rows, categories, as_of, scoring), rejects


def _score_category(decoded: Decoded, as_of: Ints, scorer: Scorer) -> Results:
    """Score the messages that have a category: rows of `_MESSAGE` and `category_schema`."""
    declaration = scorer.declaration
    schema = pa.schema([*_MESSAGE, *category_schema([declaration])])
    if not decoded.wallets:
        # Whoever writes a scorer need not think of no wallets at all.
        return schema.empty_table(), decoded.rejects
    scores = scorer.score(decoded.rows, as_of[decoded.positions])
    columns, finite = score_columns(declaration, scores)
    rows = pa.Table.from_arrays(
        [
            pa.array(decoded.positions),
            pa.array(decoded.wallets, pa.string()),
            pa.array(decoded.counts),
            *_first_and_last(decoded),
            *columns,
        ],
        schema=schema,
    )
    failed = [
        Reject(
            int(decoded.positions[i]),
            "non_finite_result",
            NON_FINITE,
            decoded.wallets[i],
            int(decoded.counts[i]),
            declaration.category,
        )
        for i in np.flatnonzero(~finite)
    ]
    rows = rows.filter(pa.array(finite)) if failed else rows
    return rows, decoded.rejects + failed


def _first_and_last(decoded: Decoded) -> list[pa.Array]:
    """When each wallet's first and last transactions were, as `TRANSACTION_TIMES`."""
    seconds = np.asarray(decoded.rows["timestamp"])
    starts = np.cumsum(decoded.counts) - decoded.counts
    found = [extreme.reduceat(seconds, starts) for extreme in (np.minimum, np.maximum)]
    return [pa.array(each * 1_000_000).cast(schemas.UTC_TIMESTAMP) for each in found]


def _accepted(results: Sequence[Results]) -> tuple[Ints, list[Reject]]:
    """Messages with a score, which are all right in every category that they have; the rejects."""
    invalid: dict[int, Reject] = {}
    absent: dict[int, Reject] = {}
    for reject in (reject for _, rejects in results for reject in rejects):
        (absent if reject.code == ABSENT else invalid).setdefault(reject.position, reject)
    present = np.unique(np.concatenate([np.asarray(rows["position"]) for rows, _ in results]))
    positions = np.setdiff1d(present, np.array(list(invalid), dtype=np.int64))
    empty = absent.keys() - invalid.keys() - set(present.tolist())
    return positions, [*invalid.values(), *(absent[position] for position in sorted(empty))]


def _rows_at(rows: pa.Table, positions: Ints) -> pa.Table:
    """The rows at positions, in their order; null where there is none."""
    there = np.asarray(rows["position"])
    order = np.argsort(there)
    missing = ~np.isin(positions, there)
    places = np.where(missing, len(order), np.searchsorted(there, positions, sorter=order))
    return rows.take(pa.array(np.append(order, 0)[places], mask=missing))


def _weighed(categories: Sequence[pa.Table], scoring: Scoring) -> tuple[pa.Table, pa.Array]:
    """Rows of all categories side by side -> rows of the messages, and the column `categories`."""
    scores = [table["final_score"] for table in categories]
    present = np.stack([np.asarray(score.is_valid()) for score in scores], axis=1)
    points = np.stack([np.asarray(score.fill_null(0.0)) for score in scores], axis=1)
    weights = np.array([part.weight for part in scoring.weighted_scorers]) * present
    final = (weights * points).sum(axis=1) / weights.sum(axis=1)
    counts = np.stack(
        [np.asarray(table["transaction_count"].fill_null(0)) for table in categories], axis=1
    )
    first, last = (name for name, _ in schemas.TRANSACTION_TIMES)
    columns = {
        "position": pc.coalesce(*(t["position"] for t in categories)),
        "wallet_address": pc.coalesce(*(t["wallet_address"] for t in categories)),
        "transaction_count": pa.array(counts.sum(axis=1)),
        first: _extreme(pc.min_element_wise, [table[first] for table in categories]),
        last: _extreme(pc.max_element_wise, [table[last] for table in categories]),
        "final_score": pa.array(final),
        "tags": _joined_tags([table["tags"].to_pylist() for table in categories]),
        **{
            name: _joined_structs([t[name] for t in categories])
            for name in ("features", "breakdown")
        },
    }
    for table, declaration in zip(categories, scoring.declarations, strict=True):
        columns |= {each.column: table[each.column] for each in declaration.partial_scores}
    names = [declaration.category for declaration in scoring.declarations]
    return pa.table(columns), _categories(names, present, points, counts)


def _extreme(function: Callable[..., pa.Array], times: Sequence[pa.ChunkedArray]) -> pa.Array:
    # Arrow compares no times with a zone.
    return function(*(time.cast(pa.int64()) for time in times)).cast(schemas.UTC_TIMESTAMP)


def _joined_tags(tags: Sequence[Sequence[Sequence[str] | None]]) -> pa.Array:
    joined = [[tag for some in row for tag in some or ()] for row in zip(*tags, strict=True)]
    return pa.array(joined, pa.list_(pa.string()))


def _joined_structs(columns: Sequence[pa.ChunkedArray]) -> pa.StructArray:
    """The fields of all structs in one."""
    arrays = [column.combine_chunks() for column in columns]
    fields = [field for array in arrays for field in array.type]
    return pa.StructArray.from_arrays([f for a in arrays for f in a.flatten()], fields=fields)


def _one_category(rows: pa.Table, category: str) -> pa.Array:
    scores, counts = (rows[name].combine_chunks() for name in ("final_score", "transaction_count"))
    names = pa.repeat(category, len(rows))
    return _map(np.arange(len(rows) + 1), names, scores, counts)


def _categories(
    names: Sequence[str], present: npt.NDArray[np.bool_], points: Floats, counts: Ints
) -> pa.Array:
    """The column `categories` of n messages, of arrays [n, categories]."""
    offsets = np.concatenate([[0], np.cumsum(present.sum(axis=1))])
    number = np.nonzero(present)[1]
    keys = pa.array(names).take(pa.array(number))
    return _map(offsets, keys, pa.array(points[present]), pa.array(counts[present]))


def _map(offsets: Ints, names: pa.Array, scores: pa.Array, counts: pa.Array) -> pa.Array:
    items = pa.StructArray.from_arrays([scores, counts], fields=list(CATEGORIES.item_type))
    return pa.MapArray.from_arrays(pa.array(offsets, pa.int32()), names, items)


def _scored_rows(rows: pa.Table, categories: pa.Array, as_of: Ints, scoring: Scoring) -> pa.Table:
    """Rows of `scored_schema`."""
    count = len(rows)
    made = {
        "as_of": pa.array(as_of[np.asarray(rows["position"])]),
        "wallet_key": wallet_keys(rows["wallet_address"].combine_chunks()),
        "zscore": zscores(np.asarray(rows["final_score"])),
        "categories": categories,
        "scoring": pa.repeat(scoring.name, count),
        "config_hash": pa.repeat(scoring.config_hash, count),
    }
    schema = scored_schema(scoring.declarations)
    columns = [made[name] if name in made else rows[name] for name in schema.names]
    return pa.Table.from_arrays(columns, schema=schema)
