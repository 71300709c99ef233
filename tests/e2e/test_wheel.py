"""The wheel carries what scoring needs, and scores outside of the checkout."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from scorestream.infra.config.settings import PROJECT_ROOT
from tools.testkit.golden import differences, golden_wallets
from tools.testkit.wheel import bare_environment, copy_sources

PIP = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")


def run(*command: str, folder: Path, **environment: str) -> str:
    done = subprocess.run(
        command,
        cwd=folder,
        env=bare_environment(**environment),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    copy_sources(folder / "sources")
    build = ("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", "..", ".")
    run(*PIP, *build, folder=folder / "sources")
    [made] = folder.glob("*.whl")
    return made


def test_it_holds_the_files_of_conf_and_the_licence(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    packed = {name for name in files if name.startswith("scorestream/conf/")}
    conf = {str(file.relative_to(PROJECT_ROOT)) for file in PROJECT_ROOT.glob("conf/**/*.yaml")}
    assert packed == {f"scorestream/{name}" for name in conf}
    for name in conf:
        assert files[f"scorestream/{name}"] == (PROJECT_ROOT / name).read_bytes()
    assert any(name.endswith("/licenses/LICENSE") for name in files)
    assert "scorestream/py.typed" in files
    assert "scorestream/BUILD" in files


def test_it_scores_outside_of_the_checkout(wheel: Path, tmp_path: Path) -> None:
    installed = tmp_path / "installed"
    run(*PIP, "install", "--no-deps", "--target", str(installed), str(wheel), folder=tmp_path)
    golden = golden_wallets()
    lines = [json.dumps({"as_of": each.as_of, "message": each.message}) for each in golden]
    (tmp_path / "wallets.jsonl").write_text("\n".join(lines), encoding="utf-8")
    command = (sys.executable, "-m", "scorestream", "score", "wallets.jsonl", "--format", "json")
    out = run(*command, folder=tmp_path, PYTHONPATH=str(installed))
    for line, each in zip(out.splitlines(), golden, strict=True):
        assert differences(json.loads(line), each.expected) == []
    where = "import scorestream; print(scorestream.__file__)"
    found = run(sys.executable, "-c", where, folder=tmp_path, PYTHONPATH=str(installed))
    assert found.startswith(str(installed))
