"""`docker-compose.yml`: what it brings up, and that it speaks the names that the code knows."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from scorestream.infra.config.settings import PROJECT_ROOT, Settings
from tools.local.broker_properties import server_properties

COMPOSE: Final = PROJECT_ROOT / "docker-compose.yml"
SERVICES: Final = {
    "kafka",
    "mongodb",
    "mongodb-seed",
    "postgres",
    "mlflow",
    "spark-master",
    "spark-worker-1",
    "spark-worker-2",
    "stream-scores",
}
OURS: Final = ("mongodb-seed", "spark-master", "spark-worker-1", "spark-worker-2", "stream-scores")
# Where the local broker listens and keeps its data, and how big its heap is.
LOCAL_ONLY: Final = {
    "process.roles",
    "node.id",
    "listeners",
    "advertised.listeners",
    "controller.listener.names",
    "controller.quorum.voters",
    "log.dirs",
    "log.cleaner.dedupe.buffer.size",
}
VARIABLE: Final = re.compile(r"\$\{([A-Z0-9_]+)(:-)?")
TOOLS: Final = (("docker", "compose"), ("docker-compose",))


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))
    return content


@pytest.fixture(scope="module")
def services(compose: dict[str, Any]) -> dict[str, dict[str, Any]]:
    result: dict[str, dict[str, Any]] = compose["services"]
    return result


def test_every_part_is_there(services: dict[str, dict[str, Any]]) -> None:
    assert set(services) == SERVICES


@pytest.mark.parametrize("name", OURS)
def test_our_containers_are_given_settings_only(
    services: dict[str, dict[str, Any]], name: str
) -> None:
    known = {field.upper() for field in Settings.model_fields}
    given = {v for v in services[name].get("environment", {}) if not v.startswith("SPARK_")}
    assert given <= known


def test_the_job_can_start_with_its_settings(
    services: dict[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in services["stream-scores"]["environment"].items():
        monkeypatch.setenv(name, re.sub(r"\$\{[A-Z0-9_]+:-([^}]*)\}", r"\1", value))
    settings = Settings()
    assert settings.kafka_bootstrap_servers == "kafka:29092"
    assert settings.creates_topics
    assert settings.warehouse == "/data/warehouse"


def test_ports_are_open_on_the_loopback_only(services: dict[str, dict[str, Any]]) -> None:
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert ports
    assert [port for port in ports if not port.startswith("127.0.0.1:")] == []


def test_variables_have_defaults() -> None:
    missing = {name for name, default in VARIABLE.findall(COMPOSE.read_text()) if not default}
    assert missing == set()


def test_what_others_wait_for_tells_its_health(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        for needed, wait in service.get("depends_on", {}).items():
            condition = wait["condition"]
            assert needed in services, name
            if condition == "service_healthy":
                assert "healthcheck" in services[needed], needed
            else:
                assert condition == "service_completed_successfully"


def test_volumes_are_declared_and_used(compose: dict[str, Any]) -> None:
    mounted = {
        volume.partition(":")[0]
        for service in compose["services"].values()
        for volume in service.get("volumes", [])
    }
    assert mounted == set(compose["volumes"])


def test_job_and_workers_see_the_warehouse_at_one_path(
    services: dict[str, dict[str, Any]],
) -> None:
    mounts = {
        volume
        for name in ("spark-worker-1", "spark-worker-2", "stream-scores")
        for volume in services[name]["volumes"]
    }
    assert mounts == {"warehouse:/data/warehouse"}


def test_the_broker_is_set_as_the_local_one(services: dict[str, dict[str, Any]]) -> None:
    local = server_properties(9092, Path("/data"))
    expected = {
        "KAFKA_" + name.upper().replace(".", "_"): value
        for name, value in local.items()
        if name not in LOCAL_ONLY
    }
    given = services["kafka"]["environment"]
    assert {name: given.get(name) for name in expected} == expected


def test_compose_accepts_the_file() -> None:
    tool = next((tool for tool in TOOLS if _is_there(tool)), None)
    if tool is None:
        pytest.skip("needs docker compose, or docker-compose: make system")
    done = _run(*tool, "-f", str(COMPOSE), "config", "--services")
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) == SERVICES


def _is_there(tool: tuple[str, ...]) -> bool:
    return shutil.which(tool[0]) is not None and _run(*tool, "version").returncode == 0


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False)
