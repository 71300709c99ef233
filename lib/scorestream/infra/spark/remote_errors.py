"""Errors of ours on their way from a task or foreachBatch, through the JVM, to who started it.

Of a Python exception the JVM passes on only the traceback, as text. So that nobody has to guess at
that, a marker with class and message as JSON is added to it, as the exception's note:

    <<scorestream-error {"class": "KafkaError", "message": "no answer from the broker"}>>

It is not for people: :func:`spark_errors` removes it from exceptions, `conf/log4j2*.properties`
from the JVM's log.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from pyspark.errors import PySparkException

from scorestream.infra.errors import ERROR_CLASSES, ScorestreamError
from scorestream.infra.spark import compat

_MARKER: Final = re.compile(r"\n?<<scorestream-error (?P<json>\{[^<>]*\})>>")
# In a marker these are written as JSON's escapes, so that none ends before its end.
_ESCAPES: Final = str.maketrans({"<": r"\u003c", ">": r"\u003e"})


def marker(error: ScorestreamError) -> str:
    """An error as a text that :func:`marked_error` finds in any other, one line of ASCII."""
    fields = {"class": type(error).__name__, "message": str(error)}
    return f"<<scorestream-error {json.dumps(fields).translate(_ESCAPES)}>>"


def marked_error(text: str) -> ScorestreamError | None:
    """The error that the last marker of a text stands for; None if there is no marker."""
    found = list(_MARKER.finditer(text))
    if not found:
        return None
    fields = json.loads(found[-1]["json"])
    return ERROR_CLASSES.get(fields["class"], ScorestreamError)(fields["message"])


def without_markers(text: str) -> str:
    """A text for people."""
    return _MARKER.sub("", text)


def error_of(error: BaseException) -> ScorestreamError | None:
    """The error of ours that an exception is, or that made Spark raise it; None: there is none."""
    for each in (error, error.__cause__):
        if isinstance(each, ScorestreamError):
            return each
    return marked_error(str(error))


@contextmanager
def marked_errors() -> Iterator[None]:
    """In a task, and in foreachBatch: mark the errors of ours that the block raises."""
    try:
        yield
    except Exception as error:
        ours = error_of(error)
        if ours is not None:
            error.add_note(marker(ours))
        raise


@contextmanager
def spark_errors() -> Iterator[None]:
    """Where tasks are started: what they raised is the cause of what Spark raises.

    Raises:
        PySparkException: as Spark raises it, without markers in its text.
        compat.JavaError: likewise.
    """
    try:
        yield
    except (compat.JavaError, PySparkException) as error:
        ours = error_of(error)
        if ours is None:
            raise
        compat.change_text(error, without_markers)
        raise error from ours
