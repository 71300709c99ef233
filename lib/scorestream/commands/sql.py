"""SQL over all tables and views in DuckDB, without a JVM; one statement, or a shell."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Final, get_args

from scorestream.infra.config.settings import Settings
from scorestream.infra.errors import ConfigurationError
from scorestream.infra.sql.output import Format

HELP: Final = "SQL over the tables of the warehouse, without a JVM (extra `spark`)"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("sql", nargs="?", help="one statement (default: those of stdin)")
    parser.add_argument("--format", choices=get_args(Format), default="table")


def run(given: argparse.Namespace, settings: Settings) -> None:
    """Run as the options say.

    Raises:
        ScorestreamError: a package is missing, or a statement fails.
    """
    _shell()(given.sql or None, given.format, settings)


def _shell() -> Callable[[str | None, Format, Settings], None]:
    try:
        from scorestream.sql.shell import run_shell  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"`scorestream sql` needs {error.name}, which is not installed: "
            "install scorestream with its extra `spark`"
        ) from None
    return run_shell
