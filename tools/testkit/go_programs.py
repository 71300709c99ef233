"""Servers that tests need, written in Go: built once for each content of their folder."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

CACHE: Final = Path(__file__).resolve().parents[2] / ".scorestream"
BUILD_SECONDS: Final = 1500


def has_go() -> bool:
    return shutil.which("go") is not None


def build_program(source: Path, package: str = ".", options: Sequence[str] = ()) -> Path:
    """The program of a package, built below `.scorestream/` if its sources have changed since.

    Args:
        source: folder of the Go module that says what versions it is built of.
        package: of that folder, or one that its `go.mod` requires.
        options: further ones of `go build`.
    """
    sources = [*sorted(source.glob("*.go")), source / "go.mod", source / "go.sum"]
    content = hashlib.sha256(b"\0".join(path.read_bytes() for path in sources))
    program = CACHE / source.name / f"{source.name}-{content.hexdigest()[:16]}"
    if not program.exists():
        program.parent.mkdir(parents=True, exist_ok=True)
        # Built aside and renamed, so that a test run beside this one never starts half a program.
        aside = program.with_suffix(f".{os.getpid()}")
        _build(source, package, options, aside)
        aside.rename(program)
    return program


def _build(source: Path, package: str, options: Sequence[str], program: Path) -> None:
    done = subprocess.run(
        ["go", "build", "-trimpath", "-buildvcs=false", *options, "-o", program, package],
        cwd=source,
        capture_output=True,
        text=True,
        timeout=BUILD_SECONDS,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"go build in {source} failed:\n{done.stderr[-4000:]}")
