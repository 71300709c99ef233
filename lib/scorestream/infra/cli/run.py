"""Runs a job: loads the settings, configures logs, maps errors to exit codes."""

from __future__ import annotations

import sys
from collections.abc import Callable

from scorestream.infra.cli.launcher import restore_outputs
from scorestream.infra.config.settings import Settings, load_settings
from scorestream.infra.display import visible_lines
from scorestream.infra.errors import ConfigurationError, ScorestreamError
from scorestream.infra.logs import configure_logs


def run_job(job: Callable[[Settings], None]) -> int:
    """Load the settings and run a job.

    Returns:
        The exit code: 0 done, else that of the error, whose message is on stderr. Unknown
        failures raise.
    """
    restore_outputs()
    try:
        settings = load_settings()
        configure_logs(settings.log_level)
        job(settings)
    except ConfigurationError as error:
        print(visible_lines(str(error)), file=sys.stderr)
        return error.exit_code
    except ScorestreamError as error:
        print(visible_lines(f"{type(error).__name__}: {error}"), file=sys.stderr)
        return error.exit_code
    return 0
