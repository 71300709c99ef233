"""Ports and properties of the local broker."""

from __future__ import annotations

import base64
import socket
import threading
from pathlib import Path

import pytest

from scorestream.infra.config.settings import PROJECT_ROOT
from scorestream.infra.errors import ConfigurationError, KafkaError
from scorestream.infra.kafka.connection import MAX_MESSAGE_BYTES
from tools.local import broker
from tools.local.broker import LocalBroker
from tools.local.broker_properties import cluster_id, properties_text, server_properties
from tools.local.ports import controller_port, free_port, port_of

DATA = Path("/somewhere/data")


@pytest.mark.parametrize(
    ("environ", "port"),
    [
        ({}, 9092),
        ({"KAFKA_PORT": ""}, 9092),
        ({"KAFKA_PORT": "1"}, 1),
        ({"KAFKA_PORT": "65534"}, 65534),
    ],
)
def test_the_port_is_that_of_the_environment(environ: dict[str, str], port: int) -> None:
    assert port_of(environ) == port


@pytest.mark.parametrize("text", ["0", "65535", "-1", "9092.0", " 9092", "kafka", "٣٠٠٠"])
def test_what_is_no_port_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="KAFKA_PORT"):
        port_of({"KAFKA_PORT": text})


def test_all_that_depends_on_the_port_moves_with_it() -> None:
    properties = server_properties(19192, DATA)
    assert properties["listeners"] == "PLAINTEXT://127.0.0.1:19192,CONTROLLER://127.0.0.1:19193"
    assert properties["advertised.listeners"] == "PLAINTEXT://127.0.0.1:19192"
    assert properties["controller.quorum.voters"] == "1@127.0.0.1:19193"
    assert LocalBroker.from_environment({"KAFKA_PORT": "19192"}).folder == (
        PROJECT_ROOT / ".kafka" / "19192"
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("message.max.bytes", str(MAX_MESSAGE_BYTES)),
        ("replica.fetch.max.bytes", str(MAX_MESSAGE_BYTES)),
        ("auto.create.topics.enable", "false"),
        ("log.retention.ms", "-1"),
        ("log.message.timestamp.after.max.ms", "9223372036854775807"),
        ("log.message.timestamp.before.max.ms", "9223372036854775807"),
        ("log.roll.ms", "9223372036854775807"),
        ("log.dirs", str(DATA)),
    ],
)
def test_property(name: str, value: str) -> None:
    assert server_properties(9092, DATA)[name] == value


def test_overrides_replace_and_extend() -> None:
    overrides = {"num.partitions": "1", "sasl.enabled.mechanisms": "PLAIN"}
    properties = server_properties(9092, DATA, overrides)
    assert overrides.items() <= properties.items()
    assert properties["process.roles"] == "broker,controller"


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ("plain=text", "key=plain=text\n"),
        ("/a folder/é", "key=/a folder/\\u00e9\n"),
        ("C:\\kafka", "key=C:\\\\kafka\n"),
        ("two\nlines", "key=two\\nlines\n"),
    ],
)
def test_values_are_escaped_as_java_reads_them(value: str, line: str) -> None:
    assert properties_text({"key": value}) == line


def test_a_cluster_id_is_a_uuid_that_the_formatter_does_not_take_for_an_option() -> None:
    ids = [cluster_id() for _ in range(2_000)]
    assert not any(text.startswith("-") for text in ids)
    assert {len(base64.urlsafe_b64decode(text + "==")) for text in ids} == {16}


def test_a_free_port_leaves_one_for_the_controller() -> None:
    port = free_port()
    with (
        socket.create_server(("127.0.0.1", port)),
        socket.create_server(("127.0.0.1", controller_port(port))),
    ):
        pass


@pytest.mark.parametrize("offset", [0, 1])
def test_a_taken_port_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offset: int) -> None:
    monkeypatch.setattr(broker, "_PORTS_RELEASED_SECONDS", 0)
    port = free_port()
    (tmp_path / "kafka_2.13.jar").touch()
    with (
        socket.create_server(("127.0.0.1", port + offset)),
        pytest.raises(KafkaError, match=rf"^port {port + offset} of .*KAFKA_PORT.*$"),
    ):
        LocalBroker(port, tmp_path / "broker", jars=tmp_path).start()


def test_a_port_that_is_freed_in_a_moment_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    (tmp_path / "kafka_2.13.jar").touch()
    port = free_port()
    dying = socket.create_server(("127.0.0.1", port))
    closing = threading.Timer(0.3, dying.close)
    closing.start()
    with pytest.raises(KafkaError, match="Java 17"):  # the ports come before Java
        LocalBroker(port, tmp_path / "broker", jars=tmp_path).start()
    closing.join()


def test_missing_jars_are_told(tmp_path: Path) -> None:
    with pytest.raises(KafkaError, match="make setup"):
        LocalBroker(free_port(), tmp_path / "broker", jars=tmp_path / "none").start()


def test_missing_java_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    (tmp_path / "kafka_2.13.jar").touch()
    with pytest.raises(KafkaError, match="Java 17"):
        LocalBroker(free_port(), tmp_path / "broker", jars=tmp_path).start()


def test_another_process_is_never_taken_for_the_broker(tmp_path: Path) -> None:
    pid_file = tmp_path / "broker.pid"
    pid_file.write_text("1\n")
    local = LocalBroker(free_port(), tmp_path)
    assert local.pid is None
    assert local.stop() is False
    assert not pid_file.exists()


def test_stopping_what_never_ran_leaves_nothing(tmp_path: Path) -> None:
    assert LocalBroker(free_port(), tmp_path / "none").stop() is False
    assert not (tmp_path / "none").exists()


def test_the_command_says_what_is_wrong_and_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KAFKA_PORT", "none")
    assert broker.main(["status"]) == 1
    assert capsys.readouterr().err.startswith("error: KAFKA_PORT='none'")
