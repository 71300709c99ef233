"""Which reference data a run uses, and its copy in the warehouse."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import structlog

from scorestream.errors import ReferenceDataUnavailable
from scorestream.io.delta.warehouse import Warehouse
from scorestream.io.mongo import fetch_reference
from scorestream.reference import ReferenceData, Threshold, Token, load_conf_reference
from scorestream.settings import Settings
from scorestream.tables import PROTOCOL_THRESHOLDS, TOKENS

log = structlog.get_logger()


def current_reference(settings: Settings, warehouse: Warehouse) -> ReferenceData:
    """Reference data from MongoDB where MONGODB_URL is set, else from `conf/`.

    While the database is away, the last good copy in the warehouse is used, with a warning.

    Raises:
        ReferenceDataError: malformed data, or a database that is away before any copy was kept.
    """
    try:
        return _fetch(settings)
    except ReferenceDataUnavailable as error:
        copy = _kept(warehouse)
        if copy is None:
            raise
        log.warning("reference_data_from_last_copy", reason=str(error))
        return copy


def keep_copy(reference: ReferenceData, warehouse: Warehouse) -> None:
    """Keep reference data in the tables `tokens` and `protocol_thresholds`, where it differs."""
    for table, items in (
        (TOKENS, reference.tokens),
        (PROTOCOL_THRESHOLDS, reference.thresholds),
    ):
        rows = [item.model_dump() for item in items]
        if _unordered(warehouse.rows(table)) != _unordered(rows):
            new = pa.Table.from_pylist(rows, schema=table.columns)
            warehouse.write(table, new, replace=True)


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
    thresholds = [Threshold(**row) for row in warehouse.rows(PROTOCOL_THRESHOLDS)]
    return ReferenceData(tokens=tuple(tokens), thresholds=tuple(thresholds))
