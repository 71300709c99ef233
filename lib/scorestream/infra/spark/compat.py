"""All that we use of Spark and Py4J beyond their public interface.

Nothing else in the project may touch private objects of Spark; `compat_texts` has the texts of its
errors. `tests/integration/infra/spark/test_compat.py` checks each of both against the real Spark,
so that an upgrade fails there, and says what has changed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

from py4j.java_gateway import JavaObject
from py4j.java_gateway import is_instance_of as _is_instance_of
from py4j.protocol import Py4JError as GatewayError
from py4j.protocol import Py4JJavaError as JavaError
from pyspark.errors import PythonException
from pyspark.errors.exceptions.captured import CapturedException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql.classic.column import Column as ClassicColumn
from pyspark.sql.classic.dataframe import DataFrame as ClassicDataFrame

__all__ = ["GatewayError", "JavaError", "JavaObject"]

_TRIED_ONCE: Final = re.compile(r"failed 1 times|failed the maximum allowable number of times")
_MAX_TASKS: Final = 100_000
_LONG_MS: Final = 24 * 3600 * 1000
# By this text Spark knows an interruption that came by way of Python. Py4J's own has a stack trace
# behind it, on whose length Spark's regular expression overflows the stack.
_INTERRUPTED: Final = (
    "py4j.protocol.Py4JJavaError: An error occurred while calling Thread.sleep: "
    "java.lang.InterruptedException"
)

# Objects of the JVM


def jvm(spark: SparkSession) -> Any:
    """The packages of the JVM: `jvm(spark).java.lang.System`."""
    return spark._jvm


def session_state(spark: SparkSession) -> Any:
    """Parser, functions, settings and planner of a session (Spark's `SessionState`)."""
    java_session: Any = spark._jsparkSession
    return java_session.sessionState()


def query_execution(rows: DataFrame) -> Any:
    """The plans of a DataFrame (Spark's `QueryExecution`)."""
    java_rows: Any = rows._jdf
    return java_rows.queryExecution()


def is_instance(spark: SparkSession, part: JavaObject, class_name: str) -> bool:
    """Whether an object is of a class or interface, by its full name."""
    return bool(_is_instance_of(spark.sparkContext._gateway, part, class_name))


def class_of(part: JavaObject) -> str:
    """The full name of an object's class."""
    return str(part.getClass().getName())


def items_of(sequence: JavaObject) -> Iterator[Any]:
    """The items of a collection of Scala or Java."""
    return _rest(sequence.iterator())


def fields_of(product: JavaObject) -> Iterator[Any]:
    """The fields of a case class or tuple."""
    return _rest(product.productIterator())


def _rest(iterator: Any) -> Iterator[Any]:
    while iterator.hasNext():
        yield iterator.next()


# Queries


class PlannedRange(NamedTuple):
    """Offsets that Spark's Kafka source planned: from `start` up to before `end`."""

    topic: str
    partition: int
    start: int
    end: int


def planned_offsets(batch: DataFrame) -> list[PlannedRange]:
    """What Spark's Kafka source planned for a micro-batch, read off its input partitions."""
    partitions = query_execution(batch).toRdd().partitions()
    planned = [p.inputPartition().get().offsetRange() for p in partitions]
    return [
        PlannedRange(r.topic(), r.partition(), r.fromOffset(), r.untilOffset()) for r in planned
    ]


def is_command_output(rows: DataFrame) -> bool:
    """Whether rows are the output of a command, such as SHOW, DESCRIBE and EXPLAIN."""
    return str(query_execution(rows).commandExecuted().nodeName()) == "CommandResult"


def wait_for_interrupt(spark: SparkSession) -> None:
    """In foreachBatch: wait until the end of the query interrupts its JVM thread.

    Raises:
        InterruptedError: always; Spark takes it for a stop, and does not commit the batch.
    """
    try:
        jvm(spark).java.lang.Thread.sleep(_LONG_MS)
    except JavaError:
        raise InterruptedError(_INTERRUPTED) from None


# Tasks


class RunningTask(NamedTuple):
    """An attempt of a task.

    Attributes:
        stage_id: of the stage.
        task_id: of the attempt; no other of the session has it.
        partition: of the task in its stage.
        attempt: how often the task was tried before.
    """

    stage_id: int
    task_id: int
    partition: int
    attempt: int


def running_tasks(spark: SparkSession) -> list[RunningTask]:
    """The attempts that run now, of all stages."""
    stages = spark.sparkContext.statusTracker().getActiveStageIds()
    return [task for stage in stages for task in _running_tasks(spark, stage)]


def _running_tasks(spark: SparkSession, stage_id: int) -> list[RunningTask]:
    info = spark.sparkContext.statusTracker().getStageInfo(stage_id)
    if info is None:
        return []
    store = _java_context(spark).statusStore()
    tasks = store.taskList(stage_id, info.currentAttemptId, _MAX_TASKS)
    every = [tasks.apply(number) for number in range(tasks.size())]
    return [
        RunningTask(stage_id, task.taskId(), task.index(), task.attempt())
        for task in every
        if task.status() == "RUNNING"
    ]


def kill_task(spark: SparkSession, task_id: int, reason: str) -> None:
    """Kill an attempt and its worker; Spark tries again, and does not count this as a failure."""
    interrupt = True
    _java_context(spark).killTaskAttempt(task_id, interrupt, reason)


def cancel_stage(spark: SparkSession, stage_id: int, reason: str) -> None:
    """Have a stage and its job fail."""
    _java_context(spark).cancelStage(stage_id, reason)


def _java_context(spark: SparkSession) -> Any:
    context: Any = spark.sparkContext._jsc
    return context.sc()


# Files


class HadoopFileError(Exception):
    """A file cannot be read; the text says why.

    Attributes:
        is_damaged: whether it is gone, shorter than it was, or not as its checksum says.
    """

    def __init__(self, cause: JavaObject) -> None:
        super().__init__(str(cause))
        kind = cause.getClass().getSimpleName()
        self.is_damaged = kind in {"FileNotFoundException", "EOFException", "ChecksumException"}


class HadoopFolder:
    """Files of a folder, on any file system that Spark reaches."""

    def __init__(self, spark: SparkSession, location: str) -> None:
        self._jvm = jvm(spark)
        self._location = location
        hadoop_conf = session_state(spark).newHadoopConf()
        self._files = self._path().getFileSystem(hadoop_conf)

    def exists(self, name: str) -> bool:
        """Whether there is such a file or folder."""
        return bool(self._files.exists(self._path(name)))

    def names(self, folder: str) -> list[str]:
        """Names of the files in a folder; none if it is not there."""
        if not self.exists(folder):
            return []
        found = self._files.listStatus(self._path(folder))
        return [str(status.getPath().getName()) for status in found]

    def read(self, name: str) -> str:
        """What a file holds, checked by its checksum where the file system keeps one.

        Raises:
            HadoopFileError: it cannot be read.
        """
        try:
            stream = self._files.open(self._path(name))
            try:
                return str(self._jvm.org.apache.commons.io.IOUtils.toString(stream, "UTF-8"))
            finally:
                stream.close()
        except JavaError as error:
            raise HadoopFileError(error.java_exception) from None

    def write(self, name: str, content: bytes) -> None:
        """Write a file, in place of what it held."""
        overwrite = True
        stream = self._files.create(self._path(name), overwrite)
        try:
            stream.write(bytearray(content))
        finally:
            stream.close()

    def _path(self, *name: str) -> Any:
        return self._jvm.org.apache.hadoop.fs.Path(self._location, *name)


# SQL


class SqlAnalyzer:
    """Spark SQL's parser and analyser of a session, step by step."""

    def __init__(self, session: SparkSession) -> None:
        self._session = session
        self._jvm = jvm(session)
        self._state = session_state(session)

    def keep_functions(self, functions: Collection[str], table_functions: Collection[str]) -> None:
        """Drop all other functions from the session."""
        _keep(self._state.functionRegistry(), functions)
        _keep(self._state.tableFunctionRegistry(), table_functions)

    def parse_plan(self, sql: str) -> Any:
        """A statement's plan, with names that are not resolved yet."""
        return self._state.sqlParser().parsePlan(sql)

    def parse_expression(self, sql: str) -> Any:
        """An expression, with names that are not resolved yet."""
        return self._state.sqlParser().parseExpression(sql)

    def analyse(self, parsed: Any) -> Any:
        """A plan with all names resolved; nothing has run."""
        modes = self._jvm.org.apache.spark.sql.execution.CommandExecutionMode
        return self._state.executePlan(parsed, modes.SKIP()).analyzed()

    def rows(self, analysed: Any) -> DataFrame:
        """The rows of an analysed plan."""
        datasets = self._jvm.org.apache.spark.sql.classic.Dataset
        return ClassicDataFrame(
            datasets.ofRows(self._session._jsparkSession, analysed), self._session
        )

    def column(self, expression: Any) -> Column:
        """A parsed expression as a column."""
        return ClassicColumn(
            self._jvm.org.apache.spark.sql.classic.ExpressionUtils.column(expression)
        )

    @contextmanager
    def active(self) -> Iterator[None]:
        """Make the session the thread's own, by whose settings the parser goes."""
        sessions = self._jvm.org.apache.spark.sql.classic.SparkSession
        before = sessions.getActiveSession()
        sessions.setActiveSession(self._session._jsparkSession)
        try:
            yield
        finally:
            if before.isDefined():
                sessions.setActiveSession(before.get())
            else:
                sessions.clearActiveSession()


def _keep(registry: Any, names: Collection[str]) -> None:
    for known in items_of(registry.listFunction()):
        if known.funcName() not in names:
            registry.dropFunction(known)


# Errors


def says_tried_once(error: Exception) -> bool:
    """Whether Spark may have given up work without a second attempt of the task that failed.

    So it does where it is told to, and where the answers of other tasks are lost again and again:
    then it counts anew. Of what Python raised it does not say how often it tried.
    """
    return isinstance(error, PythonException) or _TRIED_ONCE.search(str(error)) is not None


def change_text(error: Exception, change: Callable[[str], str]) -> None:
    """Change what an exception of Spark says, in place; those of Py4J stay as they are."""
    if isinstance(error, CapturedException):
        error._desc = change(str(error))
        error._stackTrace = change(error._stackTrace)
        # Of what Python raised, the text would be asked of the JVM's exception.
        error._origin = None
