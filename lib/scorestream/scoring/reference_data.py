"""Which reference data a run uses, and its copy in the warehouse."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import structlog

from scorestream.errors import ReferenceDataUnavailable
from scorestream.io.delta.warehouse import Warehouse
from scorestream.io.mongo import fetch_reference
from scorestream.reference import (
    ReferenceData,
    Threshold,
    Token,
    load_conf_reference,
    newest_versions,
)
from scorestream.settings import Settings
from scorestream.tables import PROTOCOL_THRESHOLDS, TOKENS

log = structlog.get_logger()


def current_reference(settings: Settings, warehouse: Warehouse) -> ReferenceData:
    """Reference data from MongoDB where MONGODB_URL is set, else from `conf/`.

    While the database is away, the last good copy in the warehouse is used, with a warning. Of
    thresholds, the newest version counts: the source's, or one that the warehouse holds.

    Raises:
        ReferenceDataError: malformed data, or a database that is away before any copy was kept.
    """
    try:
        fetched = _fetch(settings)
    except ReferenceDataUnavailable as error:
        copy = _kept(warehouse)
        if copy is None:
            raise
        log.warning("reference_data_from_last_copy", reason=str(error))
        return copy
    versions = [*stored_thresholds(warehouse), *fetched.thresholds]
    return ReferenceData(tokens=fetched.tokens, thresholds=newest_versions(versions))


def keep_copy(reference: ReferenceData, warehouse: Warehouse) -> None:
    """Keep reference data in the tables `tokens` and `protocol_thresholds`, where it differs.

    Tokens replace those that are there; thresholds of an `as_of` stay beside those of others.
    """
    tokens = [token.model_dump() for token in reference.tokens]
    if _unordered(warehouse.rows(TOKENS)) != _unordered(tokens):
        new = pa.Table.from_pylist(tokens, schema=TOKENS.columns)
        warehouse.write(TOKENS, new, replace=True)
    stored = _unordered(warehouse.rows(PROTOCOL_THRESHOLDS))
    keep_thresholds(
        [t for t in reference.thresholds if tuple(t.model_dump().values()) not in stored], warehouse
    )


def keep_thresholds(thresholds: Sequence[Threshold], warehouse: Warehouse) -> None:
    """Keep versions of thresholds, each in place of one of the same `as_of`."""
    if thresholds:
        rows = [threshold.model_dump() for threshold in thresholds]
        new = pa.Table.from_pylist(rows, schema=PROTOCOL_THRESHOLDS.columns)
        warehouse.upsert(PROTOCOL_THRESHOLDS, new, ("protocol", "feature", "as_of"))


def _unordered(rows: list[dict[str, Any]]) -> set[tuple[Any, ...]]:
    return {tuple(row.values()) for row in rows}


def _fetch(settings: Settings) -> ReferenceData:
    if settings.mongodb_url is None:
        return load_conf_reference(settings.scorestream_conf)
    return fetch_reference(
        settings.mongodb_url,
        settings.mongodb_database,
        settings.mongodb_tokens_collection,
        settings.mongodb_thresholds_collection,
    )


def _kept(warehouse: Warehouse) -> ReferenceData | None:
    tokens = [Token(**row) for row in warehouse.rows(TOKENS)]
    if not tokens:
        return None
    return ReferenceData(tokens=tuple(tokens), thresholds=stored_thresholds(warehouse))


def stored_thresholds(warehouse: Warehouse) -> tuple[Threshold, ...]:
    """The newest versions that the warehouse holds."""
    return newest_versions(Threshold(**row) for row in warehouse.rows(PROTOCOL_THRESHOLDS))
