"""Whatever may hold a wallet's address is declared, with what `forget` does there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase

import pyarrow as pa
import pytest

from scorestream.infra.config.settings import PROJECT_ROOT
from scorestream.infra.delta.table import Table
from scorestream.infra.storage.file_kinds import Treatment, file_kind_of
from scorestream.tabular.registry.artifact_files import ARTIFACTS
from scorestream.wallets.maintenance.address_search import WalletSearch
from scorestream.wallets.maintenance.warehouse_files import FILE_KINDS
from scorestream.wallets.schema.tables import TABLES

ADDRESS = "0xAbCdEf0123456789aBcDeF0123456789AbCdEf01"
LIBRARY = PROJECT_ROOT / "lib" / "scorestream"
# Columns of texts that hold no address: names, ids and numbers that the product itself gives.
OURS = {
    *("action", "breakdown", "categories", "category", "code_version", "config_hash"),
    *("error_code", "features", "feature", "models", "protocol", "replay_id", "run_id", "scoring"),
    *("source_topic", "state", "symbol", "tags", "topic_ends", "topic_id", "zscore"),
}
# Where the library makes a path below the warehouse, by what follows the warehouse's own.
BELOW = re.compile(r"\{(?:self\.)?_?(?:\w+\.)?(?:warehouse|root)(?:\.root)?\}/([^\"'`]*)")
# Folders that a module has a name for.
FOLDER = re.compile(r"^FOLDER: Final = \"(_\w+)\"", re.MULTILINE)


def texts(table: Table) -> Iterator[str]:
    for field in table.columns:
        kind = field.type
        if not (pa.types.is_primitive(kind) or pa.types.is_decimal(kind)):
            yield field.name


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_each_column_of_texts_is_said_to_hold_addresses_or_not(table: Table) -> None:
    known = {*table.identifiers.decisive, *table.identifiers.mentions}
    assert set(texts(table)) - known <= OURS
    assert known <= set(table.columns.names)


def test_each_path_below_the_warehouse_is_a_declared_place() -> None:
    declared = {place.pattern for place in FILE_KINDS} - {"*"}
    texts = [file.read_text(encoding="utf-8") for file in LIBRARY.rglob("*.py")]
    found = {
        match[1] for text in texts for kind in (BELOW, FOLDER) for match in kind.finditer(text)
    }
    assert found >= {"_checkpoints/upkeep", "_models"}
    paths = {path for path in found if path.startswith("_")}
    for path in paths:
        plain = re.sub(r"\{[^}]*\}", "x", path)
        assert any(fnmatchcase(f"{plain}/x", pattern) for pattern in declared), path


def test_a_file_of_an_undeclared_kind_is_refused() -> None:
    assert file_kind_of("plots/roc.png", ARTIFACTS).treatment == Treatment.NOTHING
    with pytest.raises(LookupError, match=r"rows\.csv: declare its kind"):
        file_kind_of("rows.csv", ARTIFACTS)


def escaped(text: str) -> str:
    return "".join(f"\\u{ord(letter):04x}" for letter in text)


@pytest.mark.parametrize(
    "raw",
    [
        ADDRESS.encode(),
        ADDRESS.upper().encode(),
        escaped(ADDRESS).encode(),
        escaped(ADDRESS).replace("\\", "\\\\").encode(),
        escaped(ADDRESS[:9]).encode() + ADDRESS[9:].encode(),
        "".join(f"%{ord(letter):02X}" for letter in ADDRESS).encode(),
        ADDRESS.encode("utf-16"),
        ADDRESS.encode("utf-16-be"),
        ADDRESS.encode("utf-32-le"),
        bytes.fromhex(ADDRESS[2:]),
        ("0" * 24 + ADDRESS[2:]).encode(),
    ],
)
def test_an_address_is_found_in_every_form(raw: bytes) -> None:
    search = WalletSearch(ADDRESS.lower())
    assert search.is_in(raw)
    assert search.is_in(b"x" * 1000 + raw + b"x" * 1000)
    assert not search.is_in(search.redact(raw)) or raw == bytes.fromhex(ADDRESS[2:])
    assert not WalletSearch(ADDRESS.lower()[:-1] + "2").is_in(raw)
    assert len(raw) <= search.longest


def test_a_long_name_is_meant_to_the_letter() -> None:
    name = "eip155:1:0xAbC/é" + "x" * 20
    search = WalletSearch(name)
    for raw in (name, escaped(name), name.replace("/", "\\/")):
        assert search.is_in(f'"{raw}"')
        assert not search.is_in(f'"y{raw}"')
    assert search.is_in(name.encode("utf-16-le"))
    assert not search.is_in(name.lower())


def test_a_short_name_counts_only_where_json_names_a_wallet() -> None:
    search = WalletSearch("bob")
    assert search.is_in(b'{"wallet_address": "bob", ')
    assert search.is_in(rb"{\"wallet\u005faddress\":\"b\u006Fb\"")
    assert search.is_in('{"wallet_address" : "bob"'.encode("utf-16"))
    for other in (b"bob", b'{"wallet_address": "bobby"', b'{"owner": "bob"'):
        assert not search.is_in(other)
