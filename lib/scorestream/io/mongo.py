"""The one module that talks to MongoDB: it reads and fills the collections of reference data."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any, Final
from urllib.parse import unquote_plus

import pymongo
from bson import Decimal128
from bson.errors import BSONError
from pydantic import SecretStr
from pymongo import MongoClient, UpdateOne
from pymongo.collection import Collection
from pymongo.errors import InvalidName, PyMongoError

from scorestream.errors import (
    ConfigurationError,
    ReferenceDataInvalid,
    ReferenceDataUnavailable,
)
from scorestream.reference import ReferenceData, Threshold, Token, parse_reference

Document = dict[str, Any]

MALFORMED_SHOWN: Final = 10
SHOWN_CHARACTERS: Final = 300
_URL: Final = re.compile(
    r"mongodb(\+srv)?://((?P<user>[^/?@]*)@)?(?P<hosts>[^/?@\s]+)(/[^?@]*)?(\?(?P<options>[^@]*))?"
)
_URL_FORM: Final = (
    "MONGODB_URL: must be mongodb://[user:password@]host[:port][/database][?options], "
    "with any of : / ? @ % in user and password percent-encoded"
)
_SECRET_OPTION: Final = re.compile(r"(?i)(?:password|properties)=([^&;]+)")
_READ_ADVICE: Final = (
    "it runs and that MONGODB_URL is right, or unset MONGODB_URL to use conf/reference"
)
_WRITE_ADVICE: Final = "it runs, that MONGODB_URL is right, and that its user may write"
# Where pymongo's texts go on to settings, topology and the server's whole answer.
_DETAILS: Final = re.compile(r" \(configured timeouts:|, Timeout: |, full error: ")


def fetch_reference(
    url: SecretStr | str,
    database: str,
    tokens_collection: str,
    thresholds_collection: str,
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
    with _client(secret, timeout_seconds) as client:
        tokens = _collection(client, database, tokens_collection)
        thresholds = _collection(client, database, thresholds_collection)
        with _failures(secret, timeout_seconds), pymongo.timeout(timeout_seconds):
            token_items, threshold_items = _items(tokens, Token), _items(thresholds, Threshold)
    if not token_items:
        raise ReferenceDataInvalid(
            f"MongoDB collection {tokens.full_name} is empty, and without stable symbols every "
            "score would change: fill it, or check MONGODB_DATABASE and MONGODB_TOKENS_COLLECTION"
        )
    return parse_reference(token_items, threshold_items, shown=MALFORMED_SHOWN)


def source_name(
    url: SecretStr, database: str, tokens_collection: str, thresholds_collection: str
) -> str:
    """What tells a source of reference data from all others, without its credentials.

    Raises:
        ConfigurationError: the URL is not of MongoDB's form.
    """
    hosts = ",".join(sorted(_parts(url)["hosts"].lower().split(",")))
    return f"mongodb://{hosts}/{database} {tokens_collection} {thresholds_collection}"


def write_thresholds(
    url: SecretStr | str,
    database: str,
    collection: str,
    thresholds: Sequence[Threshold],
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
    with _client(secret, timeout_seconds) as client:
        target = _collection(client, database, collection)
        failures = _failures(secret, timeout_seconds, "written", _WRITE_ADVICE)
        with failures, pymongo.timeout(timeout_seconds):
            target.bulk_write(updates, ordered=False)


@contextmanager
def _client(secret: SecretStr, timeout_seconds: float) -> Iterator[MongoClient[Document]]:
    """A client, closed at the end; nothing is sent before the first read."""
    _parts(secret)
    try:
        client = _unconnected(secret.get_secret_value(), round(timeout_seconds * 1000))
    except (PyMongoError, UserWarning, ValueError, TypeError, OSError) as error:
        raise ConfigurationError(f"MONGODB_URL: {_told(error, secret)}") from None
    with closing(client):
        yield client


def _unconnected(url: str, milliseconds: int) -> MongoClient[Document]:
    with warnings.catch_warnings():
        # pymongo only warns of an option it does not know or take, and goes on without it:
        # tls=maybe would connect in the clear.
        warnings.simplefilter("error", UserWarning)
        return MongoClient(
            url,
            connect=False,
            serverSelectionTimeoutMS=milliseconds,
            connectTimeoutMS=milliseconds,
            socketTimeoutMS=milliseconds,
        )


def _collection(
    client: MongoClient[Document], database: str, collection: str
) -> Collection[Document]:
    try:
        return client[database][collection]
    except InvalidName as error:
        raise ConfigurationError(
            f"MONGODB_DATABASE or a collection's name, {database}.{collection}: {error}"
        ) from None


@contextmanager
def _failures(
    secret: SecretStr, timeout_seconds: float, done: str = "read", advice: str = _READ_ADVICE
) -> Iterator[None]:
    """Wrap what a read or write can fail with; the original stays out, it may hold the URL."""
    try:
        yield
    except BSONError as error:
        raise ReferenceDataInvalid(f"MongoDB: not a document: {_told(error, secret)}") from None
    except (PyMongoError, OSError) as error:
        raise ReferenceDataUnavailable(
            f"MongoDB at {_parts(secret)['hosts']} cannot be {done} (within {timeout_seconds:g} "
            f"s): {_told(error, secret)}. Check that {advice}"
        ) from None


def _items(
    collection: Collection[Document], model: type[Token | Threshold]
) -> list[tuple[str, object]]:
    """Where each document stands, and those of its fields that the model knows."""
    documents = collection.find({}, dict.fromkeys(model.model_fields, True))
    return [
        (f"{collection.full_name} _id {_bounded(str(document.pop('_id', None)))}", _plain(document))
        for document in documents
    ]


def _plain(document: Document) -> Document:
    return {
        name: float(value.to_decimal()) if isinstance(value, Decimal128) else value
        for name, value in document.items()
    }


def _told(error: Exception, secret: SecretStr) -> str:
    """The first part of an error's text on one line, without secrets of the URL."""
    text = _DETAILS.split(str(error), maxsplit=1)[0]
    for hidden in sorted(_secrets(secret), key=len, reverse=True):
        text = text.replace(hidden, "***")
    return _bounded(" ".join(text.split()).rstrip("."))


def _secrets(secret: SecretStr) -> set[str]:
    """The password and the secret options of a URL, as written and as decoded."""
    parts = _parts(secret)
    _, _, password = (parts["user"] or "").partition(":")
    written = {password, *_SECRET_OPTION.findall(parts["options"] or "")} - {""}
    return written | {unquote_plus(text) for text in written}


def _parts(secret: SecretStr) -> re.Match[str]:
    """The parts of a URL.

    Raises:
        ConfigurationError: not of the form, for instance with an @ beyond the host: that is a
            password cut in two, of which one half would pass for a host and be told.
    """
    parts = _URL.fullmatch(secret.get_secret_value())
    if parts is None:
        raise ConfigurationError(_URL_FORM)
    return parts


def _bounded(text: str) -> str:
    return text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "…"
