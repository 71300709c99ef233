"""Settings and configuration files: every problem is told at once, before anything starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from scorestream.infra.config.settings import PROJECT_ROOT, Settings, load_settings
from scorestream.infra.errors import ConfigurationError
from scorestream.infra.kafka import consumer
from scorestream.infra.kafka.cluster import KafkaCluster
from scorestream.infra.kafka.connection import client_options, consumer_options, spark_options
from scorestream.wallets.execution.configured_scoring import build_scoring
from tools.testkit.secure_broker import KEY_PASSWORD, make_certificates

SASL = {
    "KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
    "KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
    "KAFKA_SASL_USERNAME": "job",
    "KAFKA_SASL_PASSWORD": 'ca"na\\ry',
}

WRONG: list[tuple[dict[str, str], list[str]]] = [
    ({"KAFKA_PORT": "0"}, ["KAFKA_PORT"]),
    ({"KAFKA_BOOTSTRAP_SERVERS": "broker"}, ["KAFKA_BOOTSTRAP_SERVERS: 'broker' is not host:port"]),
    ({"KAFKA_BOOTSTRAP_SERVERS": "a:1,,b:2"}, ["'' is not host:port"]),
    ({"KAFKA_INPUT_TOPIC": "wallet scores"}, ["KAFKA_INPUT_TOPIC"]),
    ({"KAFKA_SUCCESS_TOPIC": "x", "KAFKA_FAILURE_TOPIC": "x"}, ["must be three topics"]),
    ({"KAFKA_SECURITY_PROTOCOL": "SASL_SSL"}, ["KAFKA_SASL_USERNAME", "KAFKA_SASL_PASSWORD"]),
    ({"KAFKA_SSL_CAFILE": "/no/such.pem"}, ["KAFKA_SSL_CAFILE: no file at /no/such.pem"]),
    ({"KAFKA_SSL_CERTFILE": __file__}, ["give both or none"]),
    ({"KAFKA_SSL_CAFILE": __file__}, [f"{__file__} is not a PEM file with certificates"]),
    ({"SCORESTREAM_TRANSACTIONS": "maybe"}, ["SCORESTREAM_TRANSACTIONS", "'on' or 'off'"]),
    ({"SCORESTREAM_TASK_SECONDS": "59"}, ["SCORESTREAM_TASK_SECONDS", "equal to 60"]),
    ({"SCORESTREAM_WAREHOSE": "x"}, ["SCORESTREAM_WAREHOSE: is not a setting"]),
    (
        {"METRICS_PORT": "x", "KAFKA_SECURITY_PROTOCOL": "SASL_SSL", "SCORESTREAM_X": "1"},
        ["5 problem(s)", "METRICS_PORT", "KAFKA_SASL_MECHANISM", "SCORESTREAM_X"],
    ),
]


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    return monkeypatch


@pytest.mark.parametrize(("values", "texts"), WRONG)
def test_wrong_settings_are_told_by_name(
    values: dict[str, str], texts: list[str], environment: pytest.MonkeyPatch
) -> None:
    for name, value in values.items():
        environment.setenv(name, value)
    with pytest.raises(ConfigurationError) as caught:
        load_settings()
    assert all(text in str(caught.value) for text in texts), caught.value


def test_secrets_are_in_no_text_and_reach_both_clients(environment: pytest.MonkeyPatch) -> None:
    for name, value in SASL.items():
        environment.setenv(name, value)
    settings = load_settings()
    assert SASL["KAFKA_SASL_PASSWORD"] not in repr(settings)
    assert client_options(settings)["sasl.password"] == SASL["KAFKA_SASL_PASSWORD"]
    jaas = spark_options(settings)["kafka.sasl.jaas.config"]
    assert 'ScramLoginModule required username="job" password="ca\\"na\\\\ry";' in jaas


@pytest.mark.parametrize("level", ["read_committed", "read_uncommitted"])
def test_both_clients_read_at_one_isolation_level(
    level: str, environment: pytest.MonkeyPatch
) -> None:
    assert load_settings().kafka_isolation_level == "read_committed"
    environment.setenv("KAFKA_ISOLATION_LEVEL", level)
    settings = load_settings()
    assert spark_options(settings)["kafka.isolation.level"] == level
    assert consumer_options(settings)["isolation.level"] == level
    assert "isolation.level" not in consumer.CONSUMER_OPTIONS


def test_another_isolation_level_is_refused(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("KAFKA_ISOLATION_LEVEL", "serializable")
    with pytest.raises(ConfigurationError, match=r"KAFKA_ISOLATION_LEVEL: .*'serializable'"):
        load_settings()


def test_an_encrypted_key_needs_its_password(
    environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    make_certificates(tmp_path)
    environment.setenv("KAFKA_SECURITY_PROTOCOL", "SSL")
    environment.setenv("KAFKA_SSL_CERTFILE", str(tmp_path / "client.pem"))
    environment.setenv("KAFKA_SSL_KEYFILE", str(tmp_path / "client.key"))
    with pytest.raises(ConfigurationError, match=r"KAFKA_SSL_KEY_PASSWORD: is needed"):
        load_settings()
    environment.setenv("KAFKA_SSL_KEY_PASSWORD", "another")
    with pytest.raises(ConfigurationError, match=r"client\.key cannot be used") as caught:
        spark_options(load_settings())
    assert "another" not in str(caught.value)
    with pytest.raises(ConfigurationError, match="connection settings cannot be used") as caught:
        KafkaCluster(load_settings())
    assert "another" not in str(caught.value)


def test_spark_gets_the_key_as_java_17_reads_it(
    environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    make_certificates(tmp_path)
    older = load_pem_private_key((tmp_path / "client.key").read_bytes(), KEY_PASSWORD.encode())
    older_text = older.private_bytes(
        Encoding.PEM, PrivateFormat.TraditionalOpenSSL, BestAvailableEncryption(b"older")
    )
    (tmp_path / "older.key").write_bytes(older_text)
    environment.setenv("KAFKA_SSL_CERTFILE", str(tmp_path / "client.pem"))
    keys = []
    for name, password in (("client.key", KEY_PASSWORD), ("older.key", "older")):
        environment.setenv("KAFKA_SSL_KEYFILE", str(tmp_path / name))
        environment.setenv("KAFKA_SSL_KEY_PASSWORD", password)
        keys.append(spark_options(load_settings())["kafka.ssl.keystore.key"])
    assert keys[0] == keys[1]
    assert keys[0].startswith("-----BEGIN PRIVATE KEY-----\n")


def test_a_url_that_may_hold_a_password_is_not_shown(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("MLFLOW_TRACKING_URI", "http://writer:canary@host")
    assert "canary" not in repr(load_settings())


def test_topics_are_created_by_default_only_on_this_machine(
    environment: pytest.MonkeyPatch,
) -> None:
    assert load_settings().creates_topics
    environment.setenv("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:9092,kafka.example:9092")
    assert not load_settings().creates_topics
    environment.setenv("KAFKA_CREATE_TOPICS", "true")
    assert load_settings().creates_topics


def test_the_port_moves_the_default_servers(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("KAFKA_PORT", "19092")
    assert load_settings().kafka_bootstrap_servers == "127.0.0.1:19092"


SCORING: list[tuple[list[str | int], Any, str]] = [
    (["unknown"], 1, "unknown"),
    (["lp", "volume", "full_at"], 0, "lp.volume.full_at"),
    (["final", "lp_weight"], -1, "final.lp_weight"),
    (["swap", "activity", "steps"], [], "swap.activity.steps"),
    (["swap", "activity", "steps", 0, "hours"], 500, "ascending hours"),
    (["tags"], [], "tags"),
    (["tags", 0], [], "tags.0"),
    (["tags", 0, 0, "feature"], "age", "is none of the features"),
    (["name"], "dex-v9", "must be 'dex-v1'"),
]


@pytest.mark.parametrize(("path", "value", "text"), SCORING)
def test_a_wrong_scoring_model_is_told_by_its_key(
    path: list[str | int], value: Any, text: str, tmp_path: Path
) -> None:
    content = yaml.safe_load((PROJECT_ROOT / "conf/scoring/dex-v1.yaml").read_text())
    target = content
    for key in path[:-1]:
        target = target[key]
    target[path[-1]] = value
    (tmp_path / "scoring").mkdir()
    (tmp_path / "scoring" / "dex-v1.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(ConfigurationError, match=r"dex-v1\.yaml") as caught:
        build_scoring(tmp_path, "dex-v1", frozenset({"USDC"}))
    assert text in str(caught.value)


def test_relative_places_are_those_of_the_folder_where_the_command_was_started(
    tmp_path: Path, environment: pytest.MonkeyPatch
) -> None:
    started, other = tmp_path / "started", tmp_path / "other"
    for folder in (started, other):
        folder.mkdir()
    environment.chdir(started)
    environment.setenv("SCORESTREAM_CONF", "conf")
    environment.setenv("MLFLOW_TRACKING_URI", "sqlite:///models/mlflow.db")
    by_default = load_settings()
    environment.setenv("SCORESTREAM_WAREHOUSE", "wh")
    settings = load_settings()
    environment.chdir(other)
    assert by_default.warehouse == f"{started}/warehouse"
    assert settings.warehouse == f"{started}/wh"
    assert settings.scorestream_conf == started / "conf"
    assert settings.tracking_uri == f"sqlite:///{started}/models/mlflow.db"
    assert settings.model_files == f"{started}/models/mlflow_files"


@pytest.mark.parametrize(
    ("uri", "files"),
    [
        ("sqlite:////data/mlflow.db?timeout=5", "/data/mlflow_files"),
        ("postgresql+psycopg2://user:secret@host/mlflow", "/wh/_mlflow"),
        ("http://mlflow:5000", None),
        ("databricks", None),
        ("/data/mlruns", None),
        ("file:///data/mlruns", None),
        (None, "/wh/_mlflow"),
    ],
)
def test_files_of_trainings_have_a_place_of_their_own(
    uri: str | None, files: str | None, environment: pytest.MonkeyPatch
) -> None:
    if uri is not None:
        environment.setenv("MLFLOW_TRACKING_URI", uri)
    environment.setenv("SCORESTREAM_WAREHOUSE", "/wh")
    settings = load_settings()
    assert settings.model_files == files
    assert uri is None or settings.tracking_uri == uri
