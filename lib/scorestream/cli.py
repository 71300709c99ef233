"""What the jobs' entry points share: settings, logs, exit codes, kinds of arguments."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from datetime import UTC, datetime

from scorestream.control import take_outputs
from scorestream.errors import ConfigurationError, ScorestreamError
from scorestream.logs import configure_logs
from scorestream.settings import Settings, load_settings


def run_job(job: Callable[[Settings], None]) -> int:
    """Load the settings and run a job.

    Returns:
        The exit code: 0 done, 1 a known failure (one clear message on stderr), 2 wrong settings
        (all problems in one message, before Spark starts). Unknown failures raise.
    """
    take_outputs()
    try:
        settings = load_settings()
        configure_logs(settings.log_level)
        job(settings)
    except ConfigurationError as error:
        print(error, file=sys.stderr)
        return 2
    except ScorestreamError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


def moment(text: str) -> int:
    """Unix seconds of an argument: ISO 8601 (UTC unless it says otherwise), or unix seconds."""
    if re.fullmatch(r"-?[0-9]+", text):
        return int(text)
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no time") from None
    return int((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp())


def at_least(least: int) -> Callable[[str], int]:
    """The type of an argument that is an integer of at least so much."""

    def integer(text: str) -> int:
        value = int(text)
        if value < least:
            raise argparse.ArgumentTypeError(f"must be at least {least}")
        return value

    return integer
