"""Tasks that do not get on."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark import TaskContext, cloudpickle
from pyspark.sql import SparkSession

from scorestream.infra.delivery import publishing
from scorestream.infra.kafka.producer import Record
from scorestream.infra.spark import compat, watchdog
from scorestream.infra.spark.heartbeat import report_progress
from scorestream.infra.spark.process_isolation import is_retry
from scorestream.infra.spark.tasks import run_tasks
from scorestream.infra.spark.watchdog import Watchdog
from scorestream.wallets.backfill.stored_wallets import StoredWallets
from scorestream.wallets.core import history
from scorestream.wallets.core.pipeline import score_messages
from scorestream.wallets.core.scoring import Scoring
from scorestream.wallets.execution.history_lookup import wallet_rows
from scorestream.wallets.execution.scoring_task import write_scored
from scorestream.wallets.execution.table_rows import BatchFacts, table_rows
from scorestream.wallets.schema.tables import TRANSACTIONS
from tools.testkit.golden import golden_records
from tools.testkit.progress import ProgressCounter
from tools.testkit.records import records_of

# The workers cannot import this module.
cloudpickle.register_pickle_by_value(sys.modules[__name__])  # type: ignore[no-untyped-call]
pytestmark = pytest.mark.spark

SECONDS = 12.0


@pytest.fixture(autouse=True)
def workers(spark: SparkSession) -> None:
    """Workers that run already: to start them takes long on a busy machine."""
    run_tasks(spark, str.lower, ["GO", "GO"])


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return str(tmp_path / "signs")


def attempt() -> int:
    context = TaskContext.get()
    assert context is not None
    return context.attemptNumber()


def stop_once(item: str) -> tuple[str, int]:
    if item == "stop" and not is_retry():
        os.kill(os.getpid(), signal.SIGSTOP)
    return item, attempt()


def hang_once(item: str) -> tuple[str, int]:
    if item == "hang" and not is_retry():
        threading.Event().wait()
    return item, attempt()


def hang(_item: str) -> None:
    threading.Event().wait()


def test_a_worker_that_is_stopped_is_killed_and_its_task_done_again(
    spark: SparkSession, folder: str
) -> None:
    with Watchdog(spark, SECONDS, folder):
        assert run_tasks(spark, stop_once, ["stop", "go"]) == [("stop", 1), ("go", 0)]


@pytest.mark.parametrize("step", [-86_400, 86_400])
def test_a_worker_that_hangs_is_killed_whatever_the_clock_says(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch, folder: str, step: int
) -> None:
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + step)
    with Watchdog(spark, SECONDS, folder):
        assert run_tasks(spark, hang_once, ["go", "hang"]) == [("go", 0), ("hang", 1)]


def get_on_slowly(item: str) -> tuple[str, int]:
    end = time.monotonic() + 1.5 * SECONDS
    while item == "slow" and time.monotonic() < end:
        time.sleep(0.1)
        report_progress()
    return hang_once(item)


def test_a_task_that_gets_on_may_take_as_long_as_it_wants(spark: SparkSession, folder: str) -> None:
    with Watchdog(spark, SECONDS, folder):
        done = run_tasks(spark, get_on_slowly, ["slow", "hang"])
    assert done == [("slow", 0), ("hang", 1)]
    assert not Path(folder).exists()


def hang_twice(_item: str) -> int:
    if attempt() < 2:
        threading.Event().wait()
    return attempt()


def test_only_what_took_too_long_counts(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    monkeypatch.setattr(watchdog, "MAX_KILLS", 2)
    with Watchdog(spark, SECONDS, folder), ThreadPoolExecutor(1) as pool:
        answer = pool.submit(run_tasks, spark, hang_twice, ["hang"])
        while not (running := compat.running_tasks(spark)):
            assert not answer.done()
            time.sleep(0.05)
        compat.kill_task(spark, running[0].task_id, "another reason")
        assert answer.result() == [2]


def test_a_task_that_goes_on_hanging_fails(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    monkeypatch.setattr(watchdog, "MAX_KILLS", 2)
    with (
        Watchdog(spark, SECONDS, folder) as dog,
        pytest.raises(Exception, match="a task did not get on for 12 s, 2 times"),
    ):
        run_tasks(spark, hang, ["hang"])
    assert dog.gave_up == "a task did not get on for 12 s, 2 times"


def test_a_wallet_at_many_moments_is_many_units(
    progress: ProgressCounter, scoring: Scoring, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "scores").mkdir()
    (tmp_path / "rejects").mkdir()
    monkeypatch.setattr(history, "MAX_PAIRS", 100)
    facts = BatchFacts("run", 0, 0.0, code_version="1")
    records = records_of(golden_records()[:10])
    scored = score_messages(records.values, records.as_of, (scoring,))
    rows = wallet_rows(table_rows(scored, records, facts)[TRANSACTIONS])
    order = pa.array(np.argsort(rows["wallet_key"].to_pylist(), kind="stable"))
    pq.write_table(rows.take(order), f"{tmp_path}/wallets.parquet")
    moments = [2_000_000_000 + n for n in range(200)]
    wallets = StoredWallets(f"{tmp_path}/wallets.parquet", 0, 1, moments)
    batches = wallets.score((scoring,), include_transactions=False)
    report = write_scored(batches, str(tmp_path), facts, include_transactions=False)
    assert report.scores == 10 * len(moments)
    assert progress.units >= rows.num_rows * len(moments) // 100


def test_a_pause_for_the_rate_is_no_standstill(
    progress: ProgressCounter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing, "MAX_PAUSE_SECONDS", 0.02)
    assert len(list(publishing._paced(repeat(Record(None, b""), 4), 10.0))) == 4
    # Three pauses of a tenth of a second each.
    assert progress.units >= 4 + 3
