"""Rows of `scores` and `rejects` as Kafka messages.

Messages are made from table rows only, so that what is published is what Delta holds, whether the
rows are fresh or read back after a crash.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa

from scorestream.infra.kafka.producer import Record
from scorestream.wallets.core.messages import DEXES
from scorestream.wallets.core.rules import SOURCE_ID
from scorestream.wallets.core.wallet_keys import wallet_key
from scorestream.wallets.schema.tables import PARTIAL_SCORES
from scorestream.wallets.scorers.registry import DECLARATIONS, names_by_category

SCHEMA_VERSION: Final = 1
_SCORES: Final = tuple(each.column for each in PARTIAL_SCORES)
_NAMES: Final = names_by_category(DECLARATIONS)
_encode = msgspec.json.Encoder().encode


def success_records(scores: pa.Table) -> Iterator[Record]:
    """Rows of `scores` -> records of the success topic."""
    for row in _dictionaries(scores):
        value = {
            "wallet_address": row["wallet_address"],
            # Plain text of a decimal prints zero as 0E-18.
            "zscore": format(row["zscore"], "f"),
            "timestamp": row["scored_at"] // 1_000_000,
            "processing_time_ms": row["processing_time_ms"],
            "categories": _categories(row),
            "tags": row["tags"],
            "breakdown": row["breakdown"],
            "models": dict(row["models"]),
            "scoring": row["scoring"],
            "config_hash": row["config_hash"],
            "as_of": row["as_of"],
            "schema_version": SCHEMA_VERSION,
        }
        models = [(f"model-{name}", m["version"].encode()) for name, m in row["models"]]
        yield _record(row, value, ("scoring", row["scoring"].encode()), *models)


def failure_records(rejects: pa.Table) -> Iterator[Record]:
    """Rows of `rejects` -> records of the failure topic."""
    for row in _dictionaries(rejects.drop_columns(["value", "key"])):
        count = row["transaction_count"]
        category = row["category"] or DEXES
        value = {
            "wallet_address": row["wallet_address"],
            "error": row["error"],
            "error_code": row["error_code"],
            "timestamp": row["rejected_at"] // 1_000_000,
            "processing_time_ms": row["processing_time_ms"],
            "categories": [
                {"category": category, "error": row["error"], "transaction_count": count}
            ],
            "as_of": row["as_of"],
            "schema_version": SCHEMA_VERSION,
        }
        if row["scoring"] is not None:
            value["scoring"] = row["scoring"]
        yield _record(row, value)


def _categories(row: dict[str, Any]) -> list[dict[str, Any]]:
    """The categories of a message: of each its score, features and partial scores."""
    scores = {name: row[name] for name in _SCORES if row[name] is not None}
    features = row["features"] | scores
    # Rows of earlier versions do not say that they are of dexes.
    whole = {"score": row["final_score"], "transaction_count": row["transaction_count"]}
    categories = row["categories"] or [(DEXES, whole)]
    if len(categories) == 1:
        [(name, found)] = categories
        return [_category(name, found, features)]
    return [
        _category(name, found, {n: v for n, v in features.items() if n in _NAMES[name]})
        for name, found in categories
    ]


def _category(name: str, found: dict[str, Any], features: dict[str, Any]) -> dict[str, Any]:
    score = found["score"]
    return {"category": name, **found, "features": features | {"final_score": score}}


def _record(row: dict[str, Any], value: dict[str, Any], *headers: tuple[str, bytes]) -> Record:
    topic, partition, offset = (row[name] for name in SOURCE_ID)
    value["source"] = {"topic": topic, "partition": partition, "offset": offset}
    source = f"{topic}/{partition}/{offset}"
    wallet = row["wallet_address"]
    return Record(
        key=None if wallet is None else wallet_key(wallet).encode(),
        value=_encode(value),
        headers=(("source", source.encode()), *headers),
    )


def _dictionaries(rows: pa.Table) -> Iterator[dict[str, Any]]:
    """Rows as dictionaries, times as microseconds; ten times as fast as Arrow's own way."""
    names = rows.column_names
    columns = [_values(rows[name].combine_chunks()) for name in names]
    return (dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True))


def _values(column: pa.Array) -> list[Any]:
    values: list[Any]
    if pa.types.is_timestamp(column.type):
        return _values(column.cast(pa.int64()))
    if pa.types.is_map(column.type):
        return _map_values(column)
    if pa.types.is_struct(column.type):
        return _struct_values(column)
    if pa.types.is_primitive(column.type) and column.null_count == 0:
        values = np.asarray(column).tolist()
        return values
    values = column.to_pylist()
    return values


def _struct_values(column: pa.StructArray) -> list[Any]:
    """Dictionaries without what is null: another scorer has that, and no part of the message."""
    names = [field.name for field in column.type]
    parts = column.flatten()
    rows = (zip(names, row, strict=True) for row in zip(*map(_values, parts), strict=True))
    if all(part.null_count == 0 for part in parts):
        return [dict(row) for row in rows]
    found = [{name: value for name, value in row if value is not None} for row in rows]
    valid = column.is_valid().to_pylist()
    return [row if there else None for row, there in zip(found, valid, strict=True)]


def _map_values(column: pa.MapArray) -> list[Any]:
    """Lists of (key, value), empty where there is no map."""
    offsets = column.offsets.to_pylist()
    pairs = list(zip(column.keys.to_pylist(), column.items.to_pylist(), strict=True))
    return [pairs[start:end] for start, end in pairwise(offsets)]
