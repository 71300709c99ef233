"""Reference data: what is accepted, what is refused, and that an error names every problem."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Final

import pytest
from bson import Decimal128, Int64
from bson.errors import InvalidBSON
from pydantic import SecretStr, ValidationError

from scorestream.infra import mongo
from scorestream.infra.config.settings import PROJECT_ROOT
from scorestream.infra.errors import (
    ConfigurationError,
    ReferenceDataError,
    ReferenceDataInvalid,
    ReferenceDataUnavailable,
)
from scorestream.infra.mongo import source_name
from scorestream.wallets.reference import mongodb
from scorestream.wallets.reference.reference_data import (
    ALL_PROTOCOLS,
    ReferenceData,
    Threshold,
    Token,
    load_conf_reference,
    newest_versions,
    parse_reference,
)
from scorestream.wallets.schema.columns import PERCENTILES
from scorestream.wallets.schema.tables import PROTOCOL_THRESHOLDS, TOKENS

READING: Final = ("read", "it runs")
CONF: Final = PROJECT_ROOT / "conf"
ADDRESS: Final = "0x" + "aB" * 20
OTHER_ADDRESS: Final = "0x" + "12" * 20


def token(**changed: Any) -> dict[str, Any]:
    return {"address": ADDRESS, "symbol": "USDC", "decimals": 6, "stable": True} | changed


def threshold(**changed: Any) -> dict[str, Any]:
    values = {f"p{percent}": float(percent) for percent in PERCENTILES}
    return {"protocol": "*", "feature": "volume", **values, "n": 10, "as_of": 1} | changed


def conf_folder(folder: Path, tokens: str, thresholds: str = "[]") -> Path:
    (folder / "reference").mkdir()
    (folder / "reference" / "tokens.yaml").write_text(tokens, encoding="utf-8")
    (folder / "reference" / "protocol_thresholds.yaml").write_text(thresholds, encoding="utf-8")
    return folder


# --- conf/reference as it is ---


def test_the_stable_symbols_of_conf_are_those_of_the_reference_model() -> None:
    stable = {"USDC", "USDT", "DAI", "LUSD", "USDP", "TUSD", "FRAX"}
    assert load_conf_reference(CONF).stable_symbols == stable


def test_every_address_of_conf_is_a_contracts_and_belongs_to_one_symbol() -> None:
    tokens = load_conf_reference(CONF).tokens
    assert len({t.symbol for t in tokens}) == len({t.address for t in tokens}) == len(tokens)
    assert {t.symbol: t.decimals for t in tokens if t.decimals != 18} == {
        "USDC": 6,
        "USDT": 6,
        "WBTC": 8,
    }


def test_the_thresholds_of_conf_serve_every_protocol_and_know_no_deposits() -> None:
    thresholds = load_conf_reference(CONF).thresholds
    assert {t.feature for t in thresholds} == {"volume", "num_swaps"}
    assert {t.feature for t in thresholds if t.protocol == ALL_PROTOCOLS} == {
        "volume",
        "num_swaps",
    }
    assert {t.as_of for t in thresholds} == {1_623_703_915}
    assert max(t.n for t in thresholds) == 1873


@pytest.mark.parametrize(
    ("model", "table"),
    [(Token, TOKENS), (Threshold, PROTOCOL_THRESHOLDS)],
    ids=["token", "threshold"],
)
def test_models_have_the_columns_of_their_delta_tables(model: type[Token], table: Any) -> None:
    assert list(model.model_fields) == table.columns.names


# --- what an item may be ---


def test_an_address_is_held_in_lower_case() -> None:
    assert Token(**token()).address == ADDRESS.lower()


@pytest.mark.parametrize("given", [6, 6.0, Int64(6)], ids=["int", "double", "int64"])
def test_whole_numbers_are_taken_in_every_type_a_database_stores_them_in(given: object) -> None:
    decimals = Token(**token(decimals=given)).decimals
    assert (decimals, type(decimals)) == (6, int)


def test_the_values_of_a_threshold_come_in_the_order_of_the_percentiles() -> None:
    assert Threshold(**threshold()).values == tuple(map(float, PERCENTILES))


def test_the_newest_version_counts_and_of_equal_ones_the_last() -> None:
    versions = [
        Threshold(**threshold(as_of=as_of, n=n, feature=feature))
        for feature, as_of, n in [("a", 5, 1), ("b", 1, 2), ("a", 4, 3), ("a", 5, 4), ("b", 0, 5)]
    ]
    assert [(t.feature, t.n) for t in newest_versions(versions)] == [("a", 4), ("b", 2)]


def test_equal_values_are_non_decreasing() -> None:
    flat = Threshold(**threshold(**{f"p{percent}": 0 for percent in PERCENTILES}))
    assert flat.values == (0.0,) * 9


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"address": "0x12"}, "address: must match pattern"),
        ({"address": 0x12}, "address: must be a valid string, is 18"),
        ({"address": ADDRESS + "\n"}, "address: must match pattern"),
        ({"symbol": ""}, "symbol: must have at least 1 character, is ''"),
        ({"symbol": None}, "symbol: must be a valid string, is None"),
        ({"decimals": 6.5}, "decimals: must be a valid integer"),
        ({"decimals": "6"}, "decimals: must be a valid integer, is '6'"),
        ({"decimals": True}, "decimals: must be a valid integer, is True"),
        ({"decimals": -1}, "decimals: must be greater than or equal to 0, is -1"),
        ({"decimals": 256}, "decimals: must be less than or equal to 255, is 256"),
        ({"decimals": math.nan}, "decimals: must be a"),
        ({"stable": "yes"}, "stable: must be a valid boolean, is 'yes'"),
        ({"stable": 1}, "stable: must be a valid boolean, is 1"),
        ({"name": "x"}, "name: is not a known field"),
        (
            {"decimals": -1, "stable": 1},
            "decimals: must be greater than or equal to 0, is -1; stab",
        ),
    ],
)
def test_a_malformed_token_is_refused(changed: dict[str, Any], problem: str) -> None:
    with pytest.raises(ReferenceDataInvalid) as refused:
        parse_reference([("here", token(**changed))], [])
    assert f"\nhere: {problem}" in str(refused.value)


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"p25": 9.0}, "p25 (9) is less than p10 (10)"),
        ({"p1": -0.1}, "p1: must be greater than or equal to 0, is -0.1"),
        ({"p99": math.inf}, "p99: must be a finite number, is inf"),
        ({"p99": math.nan}, "p99: must be a finite number, is nan"),
        ({"p50": "50"}, "p50: must be a valid number, is '50'"),
        ({"p50": True}, "p50: must be a valid number, is True"),
        ({"n": 0}, "n: must be greater than or equal to 1, is 0"),
        ({"n": 2**63}, "n: must be less than"),
        ({"as_of": 1_750_000_000_000}, "as_of: must be less than or equal to 100000000000, is"),
        ({"protocol": ""}, "protocol: must have at least 1 character, is ''"),
        ({"p75": None, "p90": None}, "p75, p90: must be a valid number, is None"),
    ],
)
def test_a_malformed_threshold_is_refused(changed: dict[str, Any], problem: str) -> None:
    with pytest.raises(ReferenceDataInvalid) as refused:
        parse_reference([("t", token())], [("here", threshold(**changed))])
    assert f"\nhere: {problem}" in str(refused.value)


@pytest.mark.parametrize("item", [None, 7, "USDC", []], ids=repr)
def test_what_is_no_mapping_is_refused(item: object) -> None:
    with pytest.raises(ReferenceDataInvalid, match="here: must be a valid dictionary"):
        parse_reference([("here", item)], [])


# --- all of them together ---


def test_equal_data_in_another_order_are_equal() -> None:
    tokens = [("a", token()), ("b", token(address=OTHER_ADDRESS))]
    thresholds = [("c", threshold()), ("d", threshold(feature="num_swaps"))]
    assert parse_reference(tokens, thresholds) == parse_reference(tokens[::-1], thresholds[::-1])


def test_a_symbol_is_stable_where_one_of_its_tokens_is() -> None:
    tokens = [
        ("a", token()),
        ("b", token(address=OTHER_ADDRESS, stable=False)),
        ("c", token(address="0x" + "34" * 20, symbol="WETH", stable=False)),
    ]
    assert parse_reference(tokens, []).stable_symbols == {"USDC"}


@pytest.mark.parametrize("tokens", [[], [("a", token(stable=False))]], ids=["none", "unstable"])
def test_no_stable_token_is_refused(tokens: list[tuple[str, object]]) -> None:
    with pytest.raises(ReferenceDataInvalid, match="tokens: no token is stable"):
        parse_reference(tokens, [])


def test_a_repeated_token_is_named_with_the_first_whatever_its_case() -> None:
    tokens = [("item 1", token()), ("item 2", token(address="0X" + "Ab" * 20, symbol="DAI"))]
    with pytest.raises(ReferenceDataInvalid, match=f"item 2: {ADDRESS.lower()} .* by item 1"):
        parse_reference(tokens, [])


def test_a_repeated_threshold_is_named_with_the_first() -> None:
    thresholds = [("item 1", threshold()), ("item 2", threshold(n=11))]
    with pytest.raises(ReferenceDataInvalid, match=r"item 2: \* volume is given .* by item 1"):
        parse_reference([("t", token())], thresholds)


def test_the_model_itself_refuses_what_is_repeated() -> None:
    tokens, thresholds = (Token(**token()),) * 2, (Threshold(**threshold()),) * 3
    with pytest.raises(ValidationError, match=f"more than once: {ADDRESS.lower()}"):
        ReferenceData(tokens=tokens, thresholds=())
    with pytest.raises(ValidationError, match=r"more than once: \* volume \["):
        ReferenceData(tokens=tokens[:1], thresholds=thresholds)


def test_only_so_many_problems_are_shown_and_the_rest_counted() -> None:
    tokens: list[tuple[str, object]] = [(f"item {i}", {}) for i in range(5)]
    with pytest.raises(ReferenceDataInvalid) as refused:
        parse_reference(tokens, [], shown=3)
    lines = str(refused.value).splitlines()
    assert lines[3] == "item 2: address, symbol, decimals, stable: is missing"
    assert lines[4:] == ["and 2 more"]


def test_a_long_value_is_shown_bounded() -> None:
    with pytest.raises(ReferenceDataInvalid) as refused:
        parse_reference([("here", token(address="x" * 1_000_000))], [])
    assert len(str(refused.value)) < 300


# --- conf/reference as it should not be ---


def test_all_problems_of_both_files_are_in_one_error(tmp_path: Path) -> None:
    tokens = f'- {{address: {ADDRESS}, symbol: "", decimals: 6, stable: true, x: 1}}\n- 3\n'
    with pytest.raises(ReferenceDataError) as refused:
        load_conf_reference(conf_folder(tmp_path, tokens, "- {n: 1}\n"))
    first, second, third = str(refused.value).splitlines()[1:]
    assert first.startswith(
        f"{tmp_path}/reference/tokens.yaml: item 1: address: must be a valid st"
    )
    assert "symbol: must have at least 1 character" in first
    assert "x: is not a known field" in first
    assert second.startswith(f"{tmp_path}/reference/tokens.yaml: item 2: must be a valid dict")
    assert third.startswith(f"{tmp_path}/reference/protocol_thresholds.yaml: item 1: protocol, fe")


@pytest.mark.parametrize(
    ("tokens", "problem"),
    [
        ("", "must be a list of items, is None"),
        ("a: 1", "must be a list of items, is {'a': 1}"),
        ("[", "is not YAML: while parsing a flow node"),
        ("- 2021-99-99", "is not YAML: month must be in 1..12"),
        ("- \x01", "is not YAML: unacceptable character #x0001"),
    ],
)
def test_a_file_that_is_no_list_of_items_is_refused(
    tmp_path: Path, tokens: str, problem: str
) -> None:
    with pytest.raises(ReferenceDataInvalid) as refused:
        load_conf_reference(conf_folder(tmp_path, tokens))
    assert f"{tmp_path}/reference/tokens.yaml: {problem}" in str(refused.value)


def test_missing_files_are_both_named(tmp_path: Path) -> None:
    with pytest.raises(ReferenceDataInvalid) as refused:
        load_conf_reference(tmp_path)
    assert "reference/tokens.yaml: cannot be read: No such file" in str(refused.value)
    assert "reference/protocol_thresholds.yaml: cannot be read: No such" in str(refused.value)


# --- MongoDB, without one: what is refused before anything is sent ---


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("", "must be mongodb://"),
        ("http://user:hunter2@host", "must be mongodb://"),
        ("mongodb://user:hun@ter2@host", "must be mongodb://"),
        ("mongodb://user:12/hunter2@host", "must be mongodb://"),
        ("mongodb://user:12?x=hunter2@host", "must be mongodb://"),
        ("mongodb://host:27017\n", "must be mongodb://"),
        ("mongodb://user:hunter2:@host", "must be escaped"),
        ("mongodb://user:hunter2%zz@host", "must be escaped"),
        ("mongodb://user:hunter2@host:port", "Port contains non-digit characters"),
        ("mongodb://user:hunter2@host:99999", "Port must be an integer between 0 and 65535"),
        ("mongodb://user:hunter2@host/?tls=maybe", "tls must be 'true' or 'false'"),
        ("mongodb://user:hunter2@host/?nonsense=1", "Unknown option: nonsense"),
        ("mongodb://user:hunter2@host/?tls=true&tlsCAFile=/no/file", "No such file"),
    ],
)
def test_a_url_that_is_none_is_refused_without_its_password(url: str, problem: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        mongodb.fetch_reference(url, "scorestream", "tokens", "thresholds")
    assert str(refused.value).startswith("MONGODB_URL: ")
    assert problem in str(refused.value)
    assert "hun" not in str(refused.value)


@pytest.mark.parametrize(
    ("database", "collection"), [("a/b", "tokens"), ("", "tokens"), ("a", ""), ("a", "b$c")]
)
def test_a_name_that_mongodb_does_not_take_is_refused(database: str, collection: str) -> None:
    with pytest.raises(ConfigurationError, match="MONGODB_DATABASE or a collection's name"):
        mongodb.fetch_reference("mongodb://127.0.0.1/", database, collection, "thresholds")


@pytest.mark.parametrize(
    ("url", "leaked"),
    [
        ("mongodb://user:hunter2@host/", "hunter2"),
        ("mongodb://user:p%40ss+1@host/", "p%40ss+1"),
        ("mongodb://user:p%40ss+1@host/", "p@ss 1"),
        ("mongodb://host/?tlsCertificateKeyFilePassword=hunter2&tls=true", "hunter2"),
        ("mongodb://host/?authMechanismProperties=AWS_SESSION_TOKEN:t0k", "AWS_SESSION_TOKEN:t0k"),
    ],
)
def test_secrets_are_cut_out_of_what_the_driver_says(url: str, leaked: str) -> None:
    said = OSError(f"cannot use\n{leaked} at {url}, Timeout: 5s, Topology Description: …")
    with (
        pytest.raises(ReferenceDataUnavailable) as failed,
        mongo.wrap_failures(SecretStr(url), 5, *READING),
    ):
        raise said
    assert leaked not in str(failed.value)
    assert "at host cannot be read (within 5 s): cannot use *** at mongodb://" in str(failed.value)
    assert "Topology" not in str(failed.value)
    assert len(str(failed.value).splitlines()) == 1


def test_a_source_is_named_by_where_it_is_and_not_by_who_asks() -> None:
    names = ("db", "tokens", "thresholds")
    asked = [
        "mongodb://user:S3cret@B.example:1,a.example/admin?password=S3cret",
        "mongodb://a.example,b.example:1",
    ]
    assert {source_name(SecretStr(url), *names) for url in asked} == {
        "mongodb://a.example,b.example:1/db tokens thresholds"
    }
    assert source_name(SecretStr(asked[0]), "other", *names[1:]) != source_name(
        SecretStr(asked[0]), *names
    )


def test_a_document_that_is_not_bson_is_malformed_not_away() -> None:
    url = SecretStr("mongodb://host/")
    with (
        pytest.raises(ReferenceDataInvalid, match="not a document"),
        mongo.wrap_failures(url, 5, *READING),
    ):
        raise InvalidBSON("'utf-8' codec can't decode byte 0xff")


def test_decimals_of_a_database_become_floats() -> None:
    assert mongodb._plain({"p1": Decimal128("1.5"), "n": 3}) == {"p1": 1.5, "n": 3}
