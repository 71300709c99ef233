"""Thresholds as documents of the MongoDB collection: into a file, or into the collection."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

from scorestream.infra.config.settings import Settings
from scorestream.infra.errors import ConfigurationError, InputError
from scorestream.infra.storage.filesystem import as_uri, write_text
from scorestream.wallets.reference.mongodb import write_thresholds
from scorestream.wallets.reference.reference_data import Threshold

#: As target of an export, the database of `MONGODB_URL`.
MONGODB: Final = "mongodb"


def check_target(target: str | None, settings: Settings) -> None:
    """Refuse an export that cannot be made, before anything is computed.

    Raises:
        ConfigurationError: MongoDB without MONGODB_URL.
    """
    if target == MONGODB and settings.mongodb_url is None:
        raise ConfigurationError("--export mongodb: set MONGODB_URL, the database to write to")


def export_thresholds(thresholds: Sequence[Threshold], target: str, settings: Settings) -> None:
    """Write one document a protocol and feature.

    Args:
        thresholds: no protocol and feature twice.
        target: `mongodb`, or the path or URI of a file of JSON lines, which is replaced.

    Raises:
        InputError: the file cannot be written.
        ReferenceDataError: the database cannot be written.
    """
    if target == MONGODB and settings.mongodb_url is not None:
        write_thresholds(
            settings.mongodb_url,
            settings.mongodb_database,
            settings.mongodb_thresholds_collection,
            thresholds,
        )
        return
    lines = "".join(json.dumps(threshold.model_dump()) + "\n" for threshold in thresholds)
    try:
        write_text(as_uri(target), lines)
    except OSError as error:
        raise InputError(f"--export {target}: cannot be written: {error}") from None
