"""What the jobs' entry points share: settings, logs, exit codes."""

from __future__ import annotations

import sys
from collections.abc import Callable

from scorestream.control import take_outputs
from scorestream.errors import ConfigurationError, ScorestreamError
from scorestream.logs import configure_logs
from scorestream.settings import Settings, load_settings


def run_job(job: Callable[[Settings], None]) -> int:
    """Load the settings and run a job.

    Returns:
        The exit code: 0 done, 1 a known failure (one clear message on stderr), 2 wrong settings
        (all problems in one message, before Spark starts), 3 drift. Unknown failures raise.
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
        return error.exit_code
    return 0
