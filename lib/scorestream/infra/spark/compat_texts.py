"""Texts of Spark's errors that we go by, where Spark has nothing else; a part of `compat`.

`tests/integration/infra/spark/test_compat.py` checks each against the real Spark. Nothing here
needs PySpark.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

# What the Kafka source says of planned offsets that are not in the topic any more.
_LOST_OFFSETS: Final = ("KAFKA_DATA_LOSS", "failOnDataLoss")
# Kafka's Java client only plans batches.
_KAFKA_CLIENT: Final = re.compile(
    r"org\.apache\.kafka\.common\.errors\.\w+: (.+?)(?: SQLSTATE: \w+)?$", re.MULTILINE
)
_PYTHON_ERROR: Final = re.compile(r"^(?!py4j\.)[\w.]+(?:Error|Exception): .+$", re.MULTILINE)
_WORKER_CRASHED: Final = "Python worker exited unexpectedly"
_LOST_TASK: Final = re.compile(r"Lost task .*?\((?P<host>\S+) executor (?P<executor>[^\s)]+)\)")
_CONDITION: Final = re.compile(r"\[[A-Z_.]+\] [^\n]+")


def says_lost_offsets(text: str) -> bool:
    """Whether planning says that offsets are gone from a topic (`failOnDataLoss`)."""
    return any(sign in text for sign in _LOST_OFFSETS)


def kafka_client_reason(text: str) -> str | None:
    """What Kafka's Java client said, if a query failed for that."""
    found = _KAFKA_CLIENT.search(text)
    return None if found is None else found[1]


def python_error(text: str) -> str | None:
    """Class and first line of what Python raised last, in a task or in foreachBatch."""
    found: Sequence[str] = _PYTHON_ERROR.findall(text)
    return found[-1] if found else None


def says_worker_crashed(text: str) -> bool:
    """Whether a task failed because its Python worker ended: killed, out of memory, a crash."""
    return _WORKER_CRASHED in text


def host_of_lost_task(text: str) -> str | None:
    """The host of the executor whose task failed; None if that is the driver's, or not said."""
    found = _LOST_TASK.search(text)
    return None if found is None or found["executor"] == "driver" else found["host"]


def error_summary(error: Exception) -> str:
    """Spark's message without what follows it: the logical plan, the JVM's stack trace."""
    message = str(error).split("\n\nJVM stacktrace", maxsplit=1)[0]
    return message.split(";\n", maxsplit=1)[0].strip()


def error_condition(error: Exception) -> str:
    """The line that has Spark's error condition (`[PATH_NOT_FOUND] …`), else the first line."""
    found = _CONDITION.search(str(error))
    return found[0] if found else str(error).splitlines()[0]
