"""What we use of Spark beyond its public interface: a test for each, for a new version of Spark.

Where one of these fails, what it is named after has changed, and `infra/spark/compat.py` has to.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient
from pyspark import cloudpickle
from pyspark.errors import AnalysisException, PythonException, StreamingQueryException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.streaming.query import StreamingQuery

from scorestream.infra.errors import KafkaError, OffsetsGoneError
from scorestream.infra.kafka.connection import client_options
from scorestream.infra.kafka.consumer import OffsetRange, planned_ranges, read_stream
from scorestream.infra.kafka.producer import Record
from scorestream.infra.spark import compat, compat_texts
from scorestream.infra.spark.remote_errors import marked_error, marked_errors, without_markers
from scorestream.infra.spark.tasks import run_tasks, tried_once
from tools.local.ports import free_port
from tools.testkit.installation import Installation

# The workers cannot import this module.
cloudpickle.register_pickle_by_value(sys.modules[__name__])  # type: ignore[no-untyped-call]
pytestmark = pytest.mark.spark

SECONDS = 120
EXPRESSIONS = "org.apache.spark.sql.catalyst.expressions"


def test_objects_of_the_jvm(spark: SparkSession) -> None:
    assert compat.jvm(spark).java.lang.Math.abs(-1) == 1
    plan = compat.query_execution(spark.range(3)).logical()
    assert compat.class_of(plan) == "org.apache.spark.sql.catalyst.plans.logical.Range"
    assert compat.is_instance(spark, plan, "scala.Product")
    assert not compat.is_instance(spark, plan, "scala.collection.Iterable")
    assert list(compat.fields_of(plan))[:3] == [0, 3, 1]
    assert len(list(compat.items_of(plan.output()))) == 1
    assert compat.session_state(spark).functionRegistry().listFunction().size() > 0


def test_output_of_commands(spark: SparkSession) -> None:
    assert compat.is_command_output(spark.sql("SHOW TABLES"))
    assert not compat.is_command_output(spark.sql("SELECT 1"))


def test_statements_step_by_step(spark: SparkSession) -> None:
    session = spark.newSession()
    analyzer = compat.SqlAnalyzer(session)
    analyzer.keep_functions({"upper", "count"}, set())
    with analyzer.active():
        rows = analyzer.rows(analyzer.analyse(analyzer.parse_plan("SELECT upper('a') AS x")))
        assert [tuple(row) for row in rows.collect()] == [("A",)]
        column = analyzer.column(analyzer.parse_expression("x = 'B'"))
        assert rows.where(column).count() == 0
        with pytest.raises(AnalysisException):
            analyzer.analyse(analyzer.parse_plan("SELECT lower('A')"))
    assert spark.sql("SELECT lower('A')").collect()[0][0] == "a"


def test_files_of_any_file_system(spark: SparkSession, tmp_path: Path) -> None:
    folder = compat.HadoopFolder(spark, str(tmp_path / "folder"))
    assert not folder.exists("file")
    assert folder.names(".") == []
    folder.write("file", b"an old text")
    folder.write("file", b"text")
    assert (folder.exists("file"), folder.names("."), folder.read("file")) == (
        True,
        ["file"],
        "text",
    )
    (tmp_path / "folder" / "file").write_text("t3xt")
    for name in ("file", "another"):
        with pytest.raises(compat.HadoopFileError) as caught:
            folder.read(name)
        assert caught.value.is_damaged


def wait(seconds: float) -> int:
    """In a task: the first attempt hangs."""
    if attempt() == 0:
        threading.Event().wait(seconds)
    return attempt()


def attempt() -> int:
    from pyspark import TaskContext  # noqa: PLC0415

    context = TaskContext.get()
    assert context is not None
    return context.attemptNumber()


def first_task(spark: SparkSession) -> compat.RunningTask:
    end = time.monotonic() + SECONDS
    while not (running := compat.running_tasks(spark)):
        assert time.monotonic() < end
        time.sleep(0.05)
    return running[0]


def test_a_killed_task_is_done_again(spark: SparkSession) -> None:
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(run_tasks, spark, wait, [SECONDS])
        task = first_task(spark)
        assert (task.partition, task.attempt) == (0, 0)
        compat.kill_task(spark, task.task_id, "a test")
        assert answer.result(SECONDS) == [1]


def test_a_cancelled_stage_fails_and_says_why(spark: SparkSession) -> None:
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(run_tasks, spark, wait, [SECONDS])
        compat.cancel_stage(spark, first_task(spark).stage_id, "for a test")
        with pytest.raises(compat.JavaError, match="for a test") as caught:
            answer.result(SECONDS)
    assert not tried_once(caught.value)


def fail(kind: str) -> None:
    if kind == "ours":
        raise KafkaError('no "answer" <from> the broker\nnor from another')
    if kind == "exit":
        os._exit(3)
    raise ValueError(kind)


def task_failure(spark: SparkSession, kind: str) -> Exception:
    with pytest.raises(Exception) as caught:  # noqa: PT011
        run_tasks(spark, fail, [kind])
    return caught.value


def test_an_error_of_ours_in_a_task_is_the_cause_of_spark_s(spark: SparkSession) -> None:
    error = task_failure(spark, "ours")
    assert isinstance(error, PythonException)
    assert type(error.__cause__) is KafkaError
    assert str(error.__cause__) == 'no "answer" <from> the broker\nnor from another'
    assert "scorestream.infra.errors.KafkaError: no" in str(error)
    assert "scorestream-error" not in str(error)
    assert not tried_once(error)


def test_any_other_error_in_a_task_stands_in_a_traceback(spark: SparkSession) -> None:
    error = task_failure(spark, "three")
    assert isinstance(error, PythonException)
    assert error.__cause__ is None
    assert compat_texts.python_error(str(error)) == "ValueError: three"
    assert tried_once(error)


def test_a_worker_that_ends(spark: SparkSession) -> None:
    error = task_failure(spark, "exit")
    text = str(error)
    assert isinstance(error, compat.JavaError)
    assert compat_texts.says_worker_crashed(text)
    assert compat_texts.python_error(text) is None
    assert tried_once(error)
    assert compat_texts.host_of_lost_task(text) is None
    assert compat_texts.host_of_lost_task(text.replace("executor driver", "executor 1"))


def test_the_text_of_an_exception_changes(spark: SparkSession) -> None:
    error = task_failure(spark, "three")
    compat.change_text(error, lambda text: text.replace("ValueError", "Another"))
    assert "ValueError" not in str(error)


def test_messages_of_spark(spark: SparkSession, tmp_path: Path) -> None:
    with pytest.raises(AnalysisException) as caught:
        spark.range(1).select("nothing")
    reason = compat_texts.error_summary(caught.value)
    assert reason.startswith("[UNRESOLVED_COLUMN.WITH_SUGGESTION] ")
    assert "'Project" not in reason
    with pytest.raises(AnalysisException) as caught:
        spark.read.parquet(str(tmp_path / "nowhere"))
    assert compat_texts.error_condition(caught.value).startswith("[PATH_NOT_FOUND] ")
    assert compat_texts.error_condition(ValueError("one\ntwo")) == "one"


def started(rows: DataFrame, folder: Path, batch: Callable[[DataFrame, int], None]) -> Any:
    writer = rows.writeStream.foreachBatch(batch).option("checkpointLocation", str(folder))
    return writer.start()


def failure(query: StreamingQuery) -> str:
    with pytest.raises(StreamingQueryException) as caught:
        query.awaitTermination(SECONDS)
    return str(caught.value)


def test_an_error_of_ours_in_foreachbatch_is_marked(spark: SparkSession, tmp_path: Path) -> None:
    def batch(rows: DataFrame, _number: int) -> None:
        with marked_errors():
            run_tasks(rows.sparkSession, fail, ["ours"])

    text = failure(started(spark.readStream.format("rate").load(), tmp_path, batch))
    error = marked_error(text)
    assert type(error) is KafkaError
    assert str(error) == 'no "answer" <from> the broker\nnor from another'
    assert "scorestream-error" not in without_markers(text)
    assert "KafkaError: no" in without_markers(text)


def test_any_other_error_in_foreachbatch_stands_in_a_traceback(
    spark: SparkSession, tmp_path: Path
) -> None:
    def batch(_rows: DataFrame, _number: int) -> None:
        with marked_errors():
            raise ValueError("three")

    text = failure(started(spark.readStream.format("rate").load(), tmp_path, batch))
    assert marked_error(text) is None
    assert compat_texts.python_error(text) == "ValueError: three"


def test_an_interrupted_batch_neither_fails_nor_is_committed(
    spark: SparkSession, tmp_path: Path
) -> None:
    waiting = threading.Event()

    def batch(rows: DataFrame, _number: int) -> None:
        waiting.set()
        compat.wait_for_interrupt(rows.sparkSession)

    query = started(spark.readStream.format("rate").load(), tmp_path, batch)
    assert waiting.wait(SECONDS)
    query.stop()
    assert query.exception() is None
    assert not list((tmp_path / "commits").glob("[0-9]*"))


@pytest.mark.broker
def test_offsets_that_spark_planned_and_offsets_that_are_gone(
    spark: SparkSession, installation: Installation, tmp_path: Path
) -> None:
    found: list[OffsetRange] = []
    topic = installation.input_topic

    def drain() -> StreamingQuery:
        rows = read_stream(spark, installation.settings, topic, startingOffsets="earliest")
        writer = rows.writeStream.foreachBatch(lambda rows, _: found.extend(planned_ranges(rows)))
        writer = writer.option("checkpointLocation", str(tmp_path / "checkpoint"))
        return writer.trigger(availableNow=True).start()

    installation.cluster.ensure_topics()
    installation.publish([Record(b"key", b"1", 0)] * 3)
    drain().awaitTermination(SECONDS)
    [planned] = found
    assert (planned.topic, planned.start, planned.end) == (topic, 0, 3)

    admin = AdminClient(client_options(installation.settings))
    admin.delete_topics([topic])[topic].result()
    time.sleep(2)
    installation.cluster.ensure_topics()
    installation.publish([Record(b"key", b"1", 0)])
    text = failure(drain())
    assert compat_texts.says_lost_offsets(text)
    assert len(found) == 1


def test_a_broker_that_does_not_answer(
    spark: SparkSession, installation: Installation, tmp_path: Path
) -> None:
    server = f"127.0.0.1:{free_port()}"
    settings = installation.settings.model_copy(update={"kafka_bootstrap_servers": server})
    options = {"kafka.default.api.timeout.ms": "3000", "kafka.request.timeout.ms": "2000"}
    text = failure(
        started(
            read_stream(spark, settings, installation.input_topic, **options),
            tmp_path,
            lambda *_: None,
        )
    )
    reason = compat_texts.kafka_client_reason(text)
    assert reason is not None
    assert "Timed out" in reason or "Timeout" in reason
    assert "SQLSTATE" not in reason
    assert OffsetsGoneError.__name__ not in text
