"""The README's first score in a minute: from sources to scores, without Java, Spark or Kafka."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scorestream.infra.config.settings import PROJECT_ROOT
from tools.testkit.wheel import bare_environment, copy_sources

pytestmark = pytest.mark.timeout(900)

README = (PROJECT_ROOT / "README.md").read_text(encoding="utf-8")
SECTION = README.partition("\n## First score in a minute\n")[2].partition("\n## ")[0]


def test_the_readme_leads_to_a_first_score(tmp_path: Path) -> None:
    sources = tmp_path / "sources"
    copy_sources(sources)
    # Python is the only command that there is.
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "python3").symlink_to(Path(sys.executable).resolve())
    environment = bare_environment(PATH=str(tools), JAVA_HOME="/nowhere")
    [commands] = re.findall(r"```sh\n(.*?)```", SECTION, re.DOTALL)
    [shown] = re.findall(r"```text\n(.*?)```", SECTION, re.DOTALL)
    bash = (str(shutil.which("bash")), "-euo", "pipefail", "-c")
    done = run(*bash, commands, folder=sources, environment=environment)
    assert done.returncode == 0, done.stderr
    assert done.stderr.endswith("8 scores, 0 rejects\n")
    for line in shown.splitlines():
        assert line in done.stdout
    installed = sources / "build" / "first" / "bin"
    packages = run(str(installed / "pip"), "list", folder=sources, environment=environment)
    assert not re.search("pyspark|delta|confluent|mlflow|duckdb|pandas", packages.stdout)
    statement = (str(installed / "scorestream"), "sql", "SELECT 1")
    refused = run(*statement, folder=tmp_path, environment=environment)
    assert refused.returncode == 2
    assert "install scorestream with its extra `spark`" in refused.stderr


def run(
    *command: str, folder: Path, environment: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
