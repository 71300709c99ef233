"""The command `scorestream`: its help, its version, what it says where a package is missing."""

from __future__ import annotations

import subprocess
import sys

from scorestream import __version__
from scorestream.commands.main import COMMANDS

WITHOUT_DUCKDB = """
import sys
sys.modules["duckdb"] = None
from scorestream.commands.main import main
sys.exit(main(["sql", "SELECT 1"]))
"""


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)


def test_help_names_every_command() -> None:
    shown = python("-m", "scorestream", "--help")
    assert shown.returncode == 0
    assert set(COMMANDS) <= set(shown.stdout.split())


def test_the_version_is_that_of_the_code() -> None:
    assert python("-m", "scorestream", "--version").stdout.startswith(f"scorestream {__version__}")


def test_a_command_is_needed() -> None:
    assert python("-m", "scorestream").returncode == 2


def test_sql_names_the_extra_that_it_needs() -> None:
    ran = python("-c", WITHOUT_DUCKDB)
    assert ran.returncode == 2
    assert ran.stderr == (
        "`scorestream sql` needs duckdb, which is not installed: "
        "install scorestream with its extra `spark`\n"
    )
