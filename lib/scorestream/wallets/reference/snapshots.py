"""Which reference data a run uses, and what the warehouse keeps of it.

The tables `tokens` and `protocol_thresholds` show what the last run has used, from whatever source.
What a database gave last is kept beside them, for each database by itself: a run that uses another
source leaves it alone, and a start while the database is away goes on with nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Any, Final

import msgspec
import pyarrow as pa
import structlog
from pydantic import SecretStr, ValidationError

from scorestream.infra.config.settings import Settings
from scorestream.infra.delta.warehouse import Warehouse
from scorestream.infra.errors import ReferenceDataUnavailable
from scorestream.infra.mongo import source_name
from scorestream.infra.storage.filesystem import read_text, write_text
from scorestream.wallets.reference.mongodb import fetch_reference
from scorestream.wallets.reference.reference_data import (
    ReferenceData,
    Threshold,
    load_conf_reference,
    newest_versions,
)
from scorestream.wallets.schema.tables import PROTOCOL_THRESHOLDS, TOKENS

log = structlog.get_logger()

# Last good copies, one a source.
FOLDER: Final = "_reference"
_NO_COPY: Final = "the warehouse has no copy of what this database gave"


class _Copy(msgspec.Struct):
    """What a source gave.

    Attributes:
        source: which; for people, who would not know it by the name of the file.
        reference: `ReferenceData` as JSON.
    """

    source: str
    reference: msgspec.Raw


def current_reference(settings: Settings, warehouse: Warehouse) -> ReferenceData:
    """Reference data from MongoDB where MONGODB_URL is set, else from `conf/`.

    While the database is away, the last good copy of what it gave is used, with a warning. Of
    thresholds, the newest version counts: the source's, or one that the warehouse holds.

    Raises:
        ReferenceDataError: malformed data, or a database that is away before any copy was kept.
    """
    if settings.mongodb_url is None:
        found = load_conf_reference(settings.scorestream_conf)
    else:
        found = _from_database(settings, settings.mongodb_url, warehouse)
    versions = [*stored_thresholds(warehouse), *found.thresholds]
    return ReferenceData(tokens=found.tokens, thresholds=newest_versions(versions))


def _from_database(settings: Settings, url: SecretStr, warehouse: Warehouse) -> ReferenceData:
    """What a database gives, of which a copy is kept; while it is away, that copy."""
    names = (
        settings.mongodb_database,
        settings.mongodb_tokens_collection,
        settings.mongodb_thresholds_collection,
    )
    source = source_name(url, *names)
    try:
        fetched = fetch_reference(url, *names)
    except ReferenceDataUnavailable as error:
        kept = _last_copy(source, warehouse)
        if kept is None:
            raise ReferenceDataUnavailable(f"{error}; {_NO_COPY}") from None
        log.warning("reference_data_from_last_copy", reason=str(error))
        return kept
    if fetched != _last_copy(source, warehouse):
        content = msgspec.Raw(fetched.model_dump_json().encode())
        text = msgspec.json.encode(_Copy(source, content)).decode()
        write_text(_place(source, warehouse), text)
    return fetched


def _last_copy(source: str, warehouse: Warehouse) -> ReferenceData | None:
    """What a source gave last; None where that is not known, or not to be read by this version."""
    text = read_text(_place(source, warehouse))
    if text is None:
        return None
    try:
        copy = msgspec.json.decode(text, type=_Copy)
        return ReferenceData.model_validate_json(bytes(copy.reference))
    except (msgspec.MsgspecError, ValidationError) as error:
        log.warning("reference_copy_unreadable", reason=str(error).splitlines()[0])
        return None


def _place(source: str, warehouse: Warehouse) -> str:
    return f"{warehouse.root}/{FOLDER}/{sha256(source.encode()).hexdigest()[:16]}.json"


def keep_copy(reference: ReferenceData, warehouse: Warehouse) -> None:
    """Show reference data in the tables `tokens` and `protocol_thresholds`, where it differs.

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


def stored_thresholds(warehouse: Warehouse) -> tuple[Threshold, ...]:
    """The newest versions that the warehouse holds."""
    return newest_versions(Threshold(**row) for row in warehouse.rows(PROTOCOL_THRESHOLDS))
