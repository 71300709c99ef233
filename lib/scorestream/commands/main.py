"""Commands that need neither Java nor a cluster; the jobs are started by spark-submit.sh."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from typing import Final

from scorestream.commands import generate_wallets, score, sql
from scorestream.infra.cli.run import run_job
from scorestream.infra.config.settings import Settings
from scorestream.infra.version import code_version

COMMANDS: Final = {"score": score, "sql": sql, "generate_wallets": generate_wallets}


class _Version(argparse.Action):
    """Prints the version; it is looked up only where it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        """Print it, and end."""
        print(f"scorestream {code_version()}")
        parser.exit()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that the arguments name; returns the exit code.

    Args:
        arguments: None for those of the process.
    """
    given = _parser().parse_args(arguments)
    run: Callable[[argparse.Namespace, Settings], None] = given.run
    try:
        code = run_job(lambda settings: run(given, settings))
        sys.stdout.flush()
    except BrokenPipeError:
        # What reads our output, such as `head`, has ended; Python would flush the rest at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scorestream", description=__doc__)
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version, and exit")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, module in COMMANDS.items():
        description = str(module.__doc__)
        command = commands.add_parser(name, help=module.HELP, description=description)
        module.add_options(command)
        command.set_defaults(run=module.run)
    return parser
