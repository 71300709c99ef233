"""Which tasks get on, and which do not."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import repeat
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from golden import golden_records
from records import records_of
from scorestream.backfill.wallets import StoredWallets
from scorestream.core import history
from scorestream.core.dex_v1 import DexV1
from scorestream.core.pipeline import score_messages
from scorestream.io.delta.lookup import wallet_rows
from scorestream.io.kafka.producing import Record
from scorestream.scoring import publishing
from scorestream.scoring.rows import BatchFacts, table_rows
from scorestream.scoring.task import score_records, write_scored
from scorestream.spark import progress
from scorestream.spark.progress import Patience, Signs, get_on
from scorestream.tables import BATCH_TABLES, TRANSACTIONS

FACTS = BatchFacts("run", 0, 0.0, "dex-v1", "hash", "1")


@dataclass
class Counted:
    """Counts the units that a task says it has done."""

    units: int = 0

    def get_on(self) -> None:
        self.units += 1


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counted:
    task = Counted()
    monkeypatch.setattr(progress, "_task", task)
    return task


@pytest.fixture
def root(tmp_path: Path) -> str:
    """A warehouse that files can be written to."""
    for table in BATCH_TABLES:
        (tmp_path / table.name).mkdir()
    return str(tmp_path)


def test_only_what_does_not_get_on_is_overdue() -> None:
    patience = Patience(10.0)
    running = {1: 0, 2: 0, 3: 1}
    found = [patience.overdue(running, {1: str(now)}, now) for now in range(0, 40, 4)]
    assert found[:3] == [{}, {}, {}]
    assert found[3] == {2: 12.0}
    # What is done again has twice the time, and task 1 gets on.
    assert set(found[6]) == {2, 3}
    assert set(found[-1]) == {2, 3}
    # From its last sign on, whether that is seen or not.
    assert patience.overdue({1: 0}, {}, 45.0) == {}
    assert patience.overdue({1: 0}, {1: "36"}, 47.0) == {1: 11.0}


def test_a_task_that_runs_for_long_leaves_a_sign(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    often, seldom = Signs(str(tmp_path / "often"), 0.0), Signs(str(tmp_path / "seldom"), 3600.0)
    found = []
    for signs in (often, seldom):
        monkeypatch.setattr(progress, "_task", task := progress._Task(signs, 7))
        for _ in range(3):
            get_on()
        found.append(signs.read([7, 8]))
        task.end()
        assert signs.read([7, 8]) == {}
    assert found == [{7: "3"}, {}]
    often.clear()
    assert not (tmp_path / "often").exists()


def test_a_store_that_is_away_ends_no_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("no folder")
    signs = Signs(str(tmp_path / "file" / "signs"), 0.0)
    monkeypatch.setattr(progress, "_task", progress._Task(signs, 1))
    get_on()


def test_every_batch_that_is_written_is_a_unit(counted: Counted, model: DexV1, root: str) -> None:
    batches = [records_of(golden_records()[:3])] * 5
    write_scored(score_records(batches, model, True), root, FACTS, True)
    assert counted.units >= len(batches)


def test_a_wallet_at_many_moments_is_many_units(
    counted: Counted, model: DexV1, root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "MOST_PAIRS", 100)
    records = records_of(golden_records()[:10])
    scored = score_messages(records.values, records.as_of, model)
    rows = wallet_rows(table_rows(scored, records, FACTS)[TRANSACTIONS])
    order = pa.array(np.argsort(rows["wallet_key"].to_pylist(), kind="stable"))
    pq.write_table(rows.take(order), f"{root}/wallets.parquet")
    moments = [2_000_000_000 + n for n in range(200)]
    wallets = StoredWallets(f"{root}/wallets.parquet", 0, 1, moments)
    report = write_scored(wallets.score(model, False), root, FACTS, False)
    assert report.scores == 10 * len(moments)
    assert counted.units >= rows.num_rows * len(moments) // 100


def test_a_pause_for_the_rate_is_no_standstill(
    counted: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing, "MOST_PAUSE_SECONDS", 0.02)
    assert len(list(publishing._paced(repeat(Record(None, b""), 4), 10.0))) == 4
    # Three pauses of a tenth of a second each.
    assert counted.units >= 4 + 3


def test_nobody_has_to_listen() -> None:
    get_on()
