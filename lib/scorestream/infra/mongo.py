"""MongoDB: clients, collections, and failures in one line that hold no secret."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any, Final
from urllib.parse import unquote_plus

from bson.errors import BSONError
from pydantic import SecretStr
from pymongo import MongoClient
from pymongo.collection import Collection
from pymongo.errors import InvalidName, PyMongoError

from scorestream.infra.errors import (
    ConfigurationError,
    ReferenceDataInvalid,
    ReferenceDataUnavailable,
)

Document = dict[str, Any]

SHOWN_CHARACTERS: Final = 300
_URL: Final = re.compile(
    r"mongodb(\+srv)?://((?P<user>[^/?@]*)@)?(?P<hosts>[^/?@\s]+)(/[^?@]*)?(\?(?P<options>[^@]*))?"
)
_URL_FORM: Final = (
    "MONGODB_URL: must be mongodb://[user:password@]host[:port][/database][?options], "
    "with any of : / ? @ % in user and password percent-encoded"
)
_SECRET_OPTION: Final = re.compile(r"(?i)(?:password|properties)=([^&;]+)")
# Where pymongo's texts go on to settings, topology and the server's whole answer.
_DETAILS: Final = re.compile(r" \(configured timeouts:|, Timeout: |, full error: ")


def source_name(url: SecretStr, database: str, *collections: str) -> str:
    """The identity of a database's collections, without credentials.

    Raises:
        ConfigurationError: the URL is not of MongoDB's form.
    """
    hosts = ",".join(sorted(_parts(url)["hosts"].lower().split(",")))
    return f"mongodb://{hosts}/{database} {' '.join(collections)}"


@contextmanager
def connect_mongo(secret: SecretStr, timeout_seconds: float) -> Iterator[MongoClient[Document]]:
    """Open a client for the block; nothing is sent before the first read."""
    _parts(secret)
    try:
        client = _make_client(secret.get_secret_value(), round(timeout_seconds * 1000))
    except (PyMongoError, UserWarning, ValueError, TypeError, OSError) as error:
        raise ConfigurationError(f"MONGODB_URL: {_describe(error, secret)}") from None
    with closing(client):
        yield client


def _make_client(url: str, milliseconds: int) -> MongoClient[Document]:
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


def collection_of(
    client: MongoClient[Document], database: str, collection: str
) -> Collection[Document]:
    """A collection of a database.

    Raises:
        ConfigurationError: MongoDB takes no such name.
    """
    try:
        return client[database][collection]
    except InvalidName as error:
        raise ConfigurationError(
            f"MONGODB_DATABASE or a collection's name, {database}.{collection}: {error}"
        ) from None


@contextmanager
def wrap_failures(
    secret: SecretStr, timeout_seconds: float, done: str, advice: str
) -> Iterator[None]:
    """Wrap errors of reads and writes, without the original, which may hold the URL."""
    try:
        yield
    except BSONError as error:
        raise ReferenceDataInvalid(f"MongoDB: not a document: {_describe(error, secret)}") from None
    except (PyMongoError, OSError) as error:
        raise ReferenceDataUnavailable(
            f"MongoDB at {_parts(secret)['hosts']} cannot be {done} (within {timeout_seconds:g} "
            f"s): {_describe(error, secret)}. Check that {advice}"
        ) from None


def _describe(error: Exception, secret: SecretStr) -> str:
    """The first part of an error's text on one line, without secrets of the URL."""
    text = _DETAILS.split(str(error), maxsplit=1)[0]
    for hidden in sorted(_secrets(secret), key=len, reverse=True):
        text = text.replace(hidden, "***")
    return shorten(" ".join(text.split()).rstrip("."))


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


def shorten(text: str) -> str:
    """Shorten a text to the length of an error."""
    return text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "…"
