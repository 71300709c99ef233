"""Reference data from a server that speaks MongoDB's protocol: there, malformed, and away."""

from __future__ import annotations

import socket
import time
import uuid
from collections.abc import Iterator
from typing import Any, Final

import pytest
from pymongo import MongoClient
from pymongo.database import Database

from scorestream.infra.config.settings import PROJECT_ROOT
from scorestream.infra.errors import ReferenceDataInvalid, ReferenceDataUnavailable
from scorestream.wallets.reference.mongodb import fetch_reference
from scorestream.wallets.reference.reference_data import ReferenceData, load_conf_reference
from scorestream.wallets.schema.columns import PERCENTILES
from tools.testkit.go_programs import has_go
from tools.testkit.mongo_server import (
    NO_GO,
    NO_SERVER,
    any_server,
    has_server,
    own_server,
)

# The first test may have to build the server.
pytestmark = [pytest.mark.mongo, pytest.mark.timeout(900)]
needs_server = pytest.mark.skipif(not has_server(), reason=NO_SERVER)
needs_go = pytest.mark.skipif(not has_go(), reason=NO_GO)

TOKENS: Final = "tokens"
THRESHOLDS: Final = "protocol-thresholds-percentiles"
PASSWORD: Final = "hunter2"
SLACK_SECONDS: Final = 2.0

Documents = Database[dict[str, Any]]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with any_server() as server_url:
        yield server_url


@pytest.fixture
def database(url: str) -> Iterator[Documents]:
    """An empty database, dropped at the end."""
    client: MongoClient[dict[str, Any]]
    name = f"scorestream_test_{uuid.uuid4().hex[:12]}"
    with MongoClient(url) as client:
        yield client[name]
        client.drop_database(name)


def fetch(url: str, database: Documents) -> ReferenceData:
    return fetch_reference(url, database.name, TOKENS, THRESHOLDS)


def token(number: int, **changed: Any) -> dict[str, Any]:
    address = f"0x{number:040X}"
    return {"address": address, "symbol": "USDC", "decimals": 6, "stable": True} | changed


def threshold(**changed: Any) -> dict[str, Any]:
    values = {f"p{percent}": float(percent) for percent in PERCENTILES}
    fields = {"protocol": "uniswap_v3", "feature": "deposit_usd", **values}
    return fields | {"n": 5_208_952, "as_of": 1_750_000_000} | changed


@needs_server
def test_the_same_data_are_equal_from_a_database_and_from_conf(
    url: str, database: Documents
) -> None:
    conf = load_conf_reference(PROJECT_ROOT / "conf")
    database[TOKENS].insert_many([t.model_dump() for t in reversed(conf.tokens)])
    database[THRESHOLDS].insert_many([t.model_dump() for t in conf.thresholds])
    assert fetch(url, database) == conf


@needs_server
def test_other_fields_number_types_and_many_batches_are_taken(
    url: str, database: Documents
) -> None:
    extra = {"name": "USD Coin", "updated": {"by": ["someone"]}}
    database[TOKENS].insert_many([token(i, decimals=18.0, **extra) for i in range(1000)])
    database[THRESHOLDS].insert_one(threshold(n=12.0, p1=1, source="history"))
    fetched = fetch(url, database)
    assert len(fetched.tokens) == 1000
    assert fetched.tokens[10].address == f"0x{10:040x}"
    assert {t.decimals for t in fetched.tokens} == {18}
    assert [t.n for t in fetched.thresholds] == [12]


@needs_server
def test_an_empty_thresholds_collection_is_none_at_all(url: str, database: Documents) -> None:
    database[TOKENS].insert_one(token(1))
    assert fetch(url, database).thresholds == ()


@needs_server
def test_an_empty_tokens_collection_is_refused(url: str, database: Documents) -> None:
    database[THRESHOLDS].insert_one(threshold())
    with pytest.raises(ReferenceDataInvalid, match=rf"{database.name}\.tokens is empty"):
        fetch(url, database)


@needs_server
def test_malformed_documents_are_named(url: str, database: Documents) -> None:
    database[TOKENS].insert_many([token(1), token(2, decimals="6", stable=None)])
    database[TOKENS].insert_one({"_id": "mine", "symbol": "DAI"})
    database[TOKENS].insert_one({"_id": "again"} | token(1))
    database[THRESHOLDS].insert_one({"_id": 7} | threshold(p50=1.0))
    with pytest.raises(ReferenceDataInvalid) as refused:
        fetch(url, database)
    first = database[TOKENS].find_one({"address": token(1)["address"]}) or {}
    second = database[TOKENS].find_one({"address": token(2)["address"]}) or {}
    tokens, thresholds = f"{database.name}.{TOKENS}", f"{database.name}.{THRESHOLDS}"
    types = "decimals: must be a valid integer, is '6'; stable: must be a valid boolean, is None"
    again = f"{token(1)['address'].lower()} is given already by {tokens} _id {first['_id']}"
    assert set(str(refused.value).splitlines()[1:]) == {
        f"{tokens} _id {second['_id']}: {types}",
        f"{tokens} _id mine: address, decimals, stable: is missing",
        f"{tokens} _id again: {again}",
        f"{thresholds} _id 7: p50 (1) is less than p25 (25)",
    }


@needs_server
def test_only_the_first_ten_malformed_documents_are_named(url: str, database: Documents) -> None:
    database[TOKENS].insert_many([{"_id": i} | token(i, decimals=-1) for i in range(500)])
    with pytest.raises(ReferenceDataInvalid) as refused:
        fetch(url, database)
    lines = str(refused.value).splitlines()
    assert len([line for line in lines if "_id" in line]) == 10
    assert lines[-1] == "and 490 more"


@needs_server
def test_credentials_that_the_server_refuses_are_not_told(url: str, database: Documents) -> None:
    authority = url.removeprefix("mongodb://").rpartition("@")[2]
    refused_url = f"mongodb://nobody:{PASSWORD}@{authority}"
    with pytest.raises(ReferenceDataUnavailable) as failed:
        fetch(refused_url, database)
    assert_one_clear_line(str(failed.value))


@needs_go
def test_a_stopped_server_is_unavailable_within_the_timeout() -> None:
    with own_server() as url, MongoClient[dict[str, Any]](url) as client:
        client["db"][TOKENS].insert_one(token(1))
        assert fetch(url, client["db"]).stable_symbols == {"USDC"}
    message = unavailable(url.replace("mongodb://", f"mongodb://user:{PASSWORD}@"), seconds=1)
    assert "Connection refused" in message


def test_a_server_that_never_answers_is_unavailable_within_the_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        port = mute.getsockname()[1]
        unavailable(f"mongodb://user:{PASSWORD}@127.0.0.1:{port}/", seconds=1)


def test_a_host_that_does_not_exist_is_unavailable_within_the_timeout() -> None:
    unavailable(f"mongodb://user:{PASSWORD}@nowhere.invalid/", seconds=1)


def unavailable(url: str, seconds: float) -> str:
    """What a fetch says that must end as unavailable, in time."""
    started = time.monotonic()
    with pytest.raises(ReferenceDataUnavailable) as failed:
        fetch_reference(url, "db", TOKENS, THRESHOLDS, timeout_seconds=seconds)
    assert time.monotonic() - started < seconds + SLACK_SECONDS
    assert f"(within {seconds:g} s)" in str(failed.value)
    assert_one_clear_line(str(failed.value))
    return str(failed.value)


def assert_one_clear_line(message: str) -> None:
    assert message.startswith("MongoDB at ")
    assert "MONGODB_URL" in message
    assert len(message.splitlines()) == 1
    assert len(message) < 500
    assert PASSWORD not in message
