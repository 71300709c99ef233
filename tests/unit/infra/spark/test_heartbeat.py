"""Which tasks make progress, and which are stalled."""

from __future__ import annotations

from pathlib import Path

import pytest

from scorestream.infra.spark import heartbeat
from scorestream.infra.spark.heartbeat import HeartbeatFiles, StallDetector, report_progress
from scorestream.wallets.core.scoring import Scoring
from scorestream.wallets.execution.scoring_task import score_records, write_scored
from scorestream.wallets.execution.table_rows import BatchFacts
from scorestream.wallets.schema.tables import BATCH_TABLES
from tools.testkit.golden import golden_records
from tools.testkit.progress import ProgressCounter
from tools.testkit.records import records_of

FACTS = BatchFacts("run", 0, 0.0, "1")


@pytest.fixture
def root(tmp_path: Path) -> str:
    """A warehouse that files can be written to."""
    for table in BATCH_TABLES:
        (tmp_path / table.name).mkdir()
    return str(tmp_path)


def test_only_what_does_not_get_on_is_overdue() -> None:
    stalls = StallDetector(10.0)
    running = {1: 0, 2: 0, 3: 1}
    found = [stalls.stalled(running, {1: str(now)}, now) for now in range(0, 40, 4)]
    assert found[:3] == [{}, {}, {}]
    assert found[3] == {2: 12.0}
    # What is done again has twice the time, and task 1 gets on.
    assert set(found[6]) == {2, 3}
    assert set(found[-1]) == {2, 3}
    # From its last sign on, whether that is seen or not.
    assert stalls.stalled({1: 0}, {}, 45.0) == {}
    assert stalls.stalled({1: 0}, {1: "36"}, 47.0) == {1: 11.0}


def test_a_task_that_runs_for_long_leaves_a_sign(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    often, seldom = (
        HeartbeatFiles(str(tmp_path / "often"), 0.0),
        HeartbeatFiles(str(tmp_path / "seldom"), 3600.0),
    )
    found = []
    for files in (often, seldom):
        monkeypatch.setattr(heartbeat, "_task", task := heartbeat._TaskHeartbeat(files, 7))
        for _ in range(3):
            report_progress()
        found.append(files.read([7, 8]))
        task.end()
        assert files.read([7, 8]) == {}
    assert found == [{7: "3"}, {}]
    often.clear()
    assert not (tmp_path / "often").exists()


def test_a_store_that_is_away_ends_no_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("no folder")
    files = HeartbeatFiles(str(tmp_path / "file" / "files"), 0.0)
    monkeypatch.setattr(heartbeat, "_task", heartbeat._TaskHeartbeat(files, 1))
    report_progress()


def test_every_batch_that_is_written_is_a_unit(
    progress: ProgressCounter, scoring: Scoring, root: str
) -> None:
    batches = [records_of(golden_records()[:3])] * 5
    write_scored(
        score_records(batches, (scoring,), include_transactions=True),
        root,
        FACTS,
        include_transactions=True,
    )
    assert progress.units >= len(batches)


def test_nobody_has_to_listen() -> None:
    report_progress()
