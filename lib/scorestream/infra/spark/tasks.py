"""Work in Spark's tasks: one item a task, one answer an item; with a shuffle where it is needed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from pyspark import TaskContext
from pyspark.sql import SparkSession

from scorestream.infra.errors import InputError
from scorestream.infra.spark import compat
from scorestream.infra.spark.heartbeat import current_heartbeats, reporting_progress, task_heartbeat
from scorestream.infra.spark.remote_errors import error_of, marked_errors, spark_errors

Item = TypeVar("Item")
Part = TypeVar("Part")
Answer = TypeVar("Answer")


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
    heartbeats = current_heartbeats()

    def each(number: int) -> Answer:
        with marked_errors(), task_heartbeat(heartbeats, _task_id()):
            return work(items[number])

    numbers = spark.sparkContext.parallelize(range(len(items)), len(items))
    with spark_errors():
        return numbers.map(each).collect()


def run_exchange(
    spark: SparkSession,
    items: Sequence[Item],
    *,
    split: Callable[[Item], Iterable[tuple[int, Part]]],
    work: Callable[[Sequence[Part]], Answer],
    buckets: int,
) -> list[Answer]:
    """Split every item in a task of its own, then do the work for every bucket in one.

    Args:
        spark: the session.
        items: one for each task.
        split: the parts of an item, each with the number of its bucket.
        work: what is done with all parts of a bucket.
        buckets: how many there are; nothing is done for an empty one.

    Returns:
        The answers. They should be small: the driver gets them all.
    """
    if not items:
        return []

    heartbeats = current_heartbeats()

    def each_item(number: int) -> Iterator[tuple[int, Part]]:
        with marked_errors(), task_heartbeat(heartbeats, _task_id()):
            yield from reporting_progress(split(items[number]))

    def each_bucket(pairs: Iterable[tuple[int, Part]]) -> Iterator[Answer]:
        with marked_errors(), task_heartbeat(heartbeats, _task_id()):
            parts = [part for _, part in reporting_progress(pairs)]
            if parts:
                yield work(parts)

    numbers = spark.sparkContext.parallelize(range(len(items)), len(items))
    parts = numbers.flatMap(each_item)
    with spark_errors():
        return parts.partitionBy(buckets, int).mapPartitions(each_bucket).collect()


def _task_id() -> int:
    """In a task: the id of its attempt, which no other of the session has."""
    context = TaskContext.get()
    return 0 if context is None else context.taskAttemptId()


@contextmanager
def input_errors() -> Iterator[None]:
    """Raise what a task says of its input as what it is.

    Raises:
        InputError: a task could not read its input.
    """
    try:
        with spark_errors():
            yield
    except Exception as error:
        ours = error_of(error)
        if isinstance(ours, InputError):
            raise ours from None
        raise


def tried_once(error: Exception) -> bool:
    """Whether Spark may have given up work without a second attempt of the task that failed.

    An error of ours, which is raised on purpose, does not count.
    """
    return compat.says_tried_once(error) and error_of(error) is None
