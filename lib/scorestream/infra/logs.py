"""Structured logs: JSON lines, or readable ones where a person looks on. Always on stderr."""

from __future__ import annotations

import logging
import sys

import structlog
from structlog.typing import EventDict, WrappedLogger

from scorestream.infra.display import visible, visible_lines


def configure_logs(level: str) -> None:
    """Send structlog to stderr: coloured lines on a terminal, one JSON object a line elsewhere."""
    terminal = sys.stderr.isatty()
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer() if terminal else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            # JSON escapes by itself.
            *([_make_visible] if terminal else []),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        # Looked up at each line: a live line on the terminal exchanges sys.stderr for its own.
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
    )


def _make_visible(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Texts of an event with all that they hold to be seen; a stack trace keeps its lines."""
    return {
        name: value
        if not isinstance(value, str)
        else visible_lines(value)
        if name == "exception"
        else visible(value)
        for name, value in event.items()
    }
