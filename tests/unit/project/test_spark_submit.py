"""What spark-submit.sh hands to a job's JVM."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from scorestream.infra.config.settings import PROJECT_ROOT

SECRETS = {
    "KAFKA_SASL_PASSWORD": "hunter2",
    "KAFKA_SSL_KEY_PASSWORD": "hunter2",
    "MONGODB_URL": "mongodb://u:hunter2@h",
    "MLFLOW_TRACKING_URI": "https://u:hunter2@h",
    "MLFLOW_TRACKING_PASSWORD": "hunter2",
}


def executable(path: Path, line: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{line}\n", encoding="utf-8")
    path.chmod(0o755)


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A package for a cluster whose spark-submit shows the environment it is given."""
    shutil.copytree(PROJECT_ROOT / "conf", tmp_path / "conf")
    shutil.copy(PROJECT_ROOT / "spark-submit.sh", tmp_path)
    (tmp_path / "scorestream-lib.zip").touch()
    (tmp_path / "jobs").mkdir()
    for job in ("query", "replay_rejects"):
        (tmp_path / "jobs" / f"{job}.py").touch()
    executable(tmp_path / "environment" / "bin" / "python", "exit 0")
    executable(tmp_path / "spark" / "bin" / "spark-submit", "env")
    return tmp_path


@pytest.mark.parametrize(("job", "seen"), [("query", False), ("replay_rejects", True)])
def test_secrets_reach_only_a_jvm_that_needs_them(package: Path, job: str, *, seen: bool) -> None:
    environment = os.environ | SECRETS | {"SPARK_HOME": str(package / "spark")}
    done = subprocess.run(
        [str(package / "spark-submit.sh"), job],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "PYSPARK_PYTHON=" in done.stdout
    assert ("hunter2" in done.stdout) == seen
