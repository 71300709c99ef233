"""Work in Spark's tasks: one item a task, one answer an item."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final, TypeVar

from py4j.protocol import Py4JJavaError
from pyspark import TaskContext
from pyspark.errors import PySparkException, PythonException
from pyspark.sql import SparkSession

from scorestream.infra.errors import InputError
from scorestream.infra.spark.heartbeat import getting_on, signing, signs_of_now

Item = TypeVar("Item")
Piece = TypeVar("Piece")
Answer = TypeVar("Answer")
_OURS: Final = "scorestream.infra.errors."
_INPUT: Final = re.compile(re.escape(_OURS) + r"InputError: (.+)")
_TRIED_ONCE: Final = re.compile(r"failed 1 times|failed the maximum allowable number of times")


def run_tasks(
    spark: SparkSession, work: Callable[[Item], Answer], items: Sequence[Item]
) -> list[Answer]:
    """Do the work for every item in a task of its own, and collect the answers.

    Args:
        spark: the session.
        work: what is done; it, the items and the answers are pickled. A task may be run again, so
            that doing it twice must be harmless.
        items: one for each task.

    Returns:
        The answers in the items' order. They should be small: the driver gets them all.
    """
    # Through the RDD interface, as the way by a DataFrame plans 0.05 s more for each of the two
    # rounds of a micro-batch (docs/decisions/0008-plumbing.md).
    if not items:
        return []
    signs = signs_of_now()

    def each(number: int) -> Answer:
        with signing(signs, _task_number()):
            return work(items[number])

    numbers = spark.sparkContext.parallelize(range(len(items)), len(items))
    return numbers.map(each).collect()


def run_exchange(
    spark: SparkSession,
    split: Callable[[Item], Iterable[tuple[int, Piece]]],
    items: Sequence[Item],
    work: Callable[[Sequence[Piece]], Answer],
    buckets: int,
) -> list[Answer]:
    """Split every item in a task of its own, then do the work for every bucket in one.

    Args:
        spark: the session.
        split: the pieces of an item, each with the number of its bucket.
        items: one for each task.
        work: what is done with all pieces of a bucket.
        buckets: how many there are; for one without pieces nothing is done.

    Returns:
        The answers. They should be small: the driver gets them all.
    """
    if not items:
        return []

    signs = signs_of_now()

    def each_item(number: int) -> Iterator[tuple[int, Piece]]:
        with signing(signs, _task_number()):
            yield from getting_on(split(items[number]))

    def each_bucket(pairs: Iterable[tuple[int, Piece]]) -> Iterator[Answer]:
        with signing(signs, _task_number()):
            pieces = [piece for _, piece in getting_on(pairs)]
            if pieces:
                yield work(pieces)

    numbers = spark.sparkContext.parallelize(range(len(items)), len(items))
    pieces = numbers.flatMap(each_item)
    return pieces.partitionBy(buckets, int).mapPartitions(each_bucket).collect()


def _task_number() -> int:
    """In a task: the number of its attempt, which no other of the session has."""
    context = TaskContext.get()
    return 0 if context is None else context.taskAttemptId()


@contextmanager
def input_errors() -> Iterator[None]:
    """Raise what a task says of its input as what it is.

    Raises:
        InputError: a task could not read its input.
    """
    try:
        yield
    except (Py4JJavaError, PySparkException) as error:
        told = _INPUT.search(str(error))
        if told is None:
            raise
        raise InputError(told[1]) from None


def tried_once(error: Exception) -> bool:
    """Whether Spark may have given up work without a second attempt of the task that failed.

    So it does where it is told to, and where the answers of other tasks are lost again and again:
    then it counts anew. Of what Python raised it does not say how often it tried. What is raised on
    purpose does not count.
    """
    text = str(error)
    once = isinstance(error, PythonException) or _TRIED_ONCE.search(text) is not None
    return once and _OURS not in text
