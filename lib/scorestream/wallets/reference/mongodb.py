"""Reference data in MongoDB: its collections, read and filled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import pymongo
from bson import Decimal128
from pydantic import SecretStr
from pymongo import UpdateOne
from pymongo.collection import Collection

from scorestream.infra.errors import ReferenceDataInvalid
from scorestream.infra.mongo import Document, collection_of, connect_mongo, shorten, wrap_failures
from scorestream.wallets.reference.reference_data import (
    ReferenceData,
    Threshold,
    Token,
    parse_reference,
)

MALFORMED_SHOWN: Final = 10
_READ_ADVICE: Final = (
    "it runs and that MONGODB_URL is right, or unset MONGODB_URL to use conf/reference"
)
_WRITE_ADVICE: Final = "it runs, that MONGODB_URL is right, and that its user may write"


def fetch_reference(
    url: SecretStr | str,
    database: str,
    tokens_collection: str,
    thresholds_collection: str,
    *,
    timeout_seconds: float = 5,
) -> ReferenceData:
    """Read the reference data of a MongoDB database.

    Args:
        url: where the database is, with credentials; these are never part of an error.
        timeout_seconds: after which the attempt ends, whatever state the server is in.

    Returns:
        All tokens, at least one of them stable, and all thresholds, maybe none. Fields that are
        not ours are ignored.

    Raises:
        ReferenceDataUnavailable: the server cannot be reached, refuses us, or takes too long.
        ReferenceDataInvalid: no token, none that is stable, or malformed documents: the
            collection, `_id` and fields of the first ten.
        ConfigurationError: the URL or a name is not of MongoDB's form; waiting mends neither.
    """
    secret = SecretStr(url) if isinstance(url, str) else url
    with connect_mongo(secret, timeout_seconds) as client:
        tokens = collection_of(client, database, tokens_collection)
        thresholds = collection_of(client, database, thresholds_collection)
        with (
            wrap_failures(secret, timeout_seconds, "read", _READ_ADVICE),
            pymongo.timeout(timeout_seconds),
        ):
            token_items, threshold_items = _items(tokens, Token), _items(thresholds, Threshold)
    if not token_items:
        raise ReferenceDataInvalid(
            f"MongoDB collection {tokens.full_name} is empty, and without stable symbols every "
            "score would change: fill it, or check MONGODB_DATABASE and MONGODB_TOKENS_COLLECTION"
        )
    return parse_reference(token_items, threshold_items, shown=MALFORMED_SHOWN)


def write_thresholds(
    url: SecretStr | str,
    database: str,
    collection: str,
    thresholds: Sequence[Threshold],
    *,
    timeout_seconds: float = 30,
) -> None:
    """Put thresholds into a collection, each in place of that of its protocol and feature, if any.

    Fields of a document that are not ours stay. What was written before a failure stays, too; to
    write all of it again changes nothing more.

    Args:
        url: where the database is, with credentials; these are never part of an error.
        thresholds: no protocol and feature twice.
        timeout_seconds: after which the attempt ends, whatever state the server is in.

    Raises:
        ReferenceDataUnavailable: the server cannot be reached, refuses us, or takes too long.
        ConfigurationError: the URL or a name is not of MongoDB's form; waiting mends neither.
    """
    secret = SecretStr(url) if isinstance(url, str) else url
    updates = [
        UpdateOne(
            {"protocol": threshold.protocol, "feature": threshold.feature},
            {"$set": threshold.model_dump()},
            upsert=True,
        )
        for threshold in thresholds
    ]
    with connect_mongo(secret, timeout_seconds) as client:
        target = collection_of(client, database, collection)
        failing = wrap_failures(secret, timeout_seconds, "written", _WRITE_ADVICE)
        with failing, pymongo.timeout(timeout_seconds):
            target.bulk_write(updates, ordered=False)


def _items(
    collection: Collection[Document], model: type[Token | Threshold]
) -> list[tuple[str, object]]:
    """Where each document stands, and those of its fields that the model knows."""
    documents = collection.find({}, dict.fromkeys(model.model_fields, True))
    return [
        (f"{collection.full_name} _id {shorten(str(document.pop('_id', None)))}", _plain(document))
        for document in documents
    ]


def _plain(document: Document) -> Document:
    return {
        name: float(value.to_decimal()) if isinstance(value, Decimal128) else value
        for name, value in document.items()
    }
