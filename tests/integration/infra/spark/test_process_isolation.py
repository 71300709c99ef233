"""Work that ends the process that does it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pytest

from scorestream.infra.errors import ScorestreamError
from scorestream.infra.kafka.producer import Record
from scorestream.infra.kafka.records import Records
from scorestream.infra.spark import process_isolation
from scorestream.infra.spark.process_isolation import (
    OUT_OF_MEMORY,
    IsolatedProcess,
    WorkFailed,
    isolate_failures,
)
from scorestream.wallets.core import schemas
from scorestream.wallets.core.decode import decode
from scorestream.wallets.core.pipeline import score_messages
from scorestream.wallets.core.scoring import Scoring
from scorestream.wallets.execution.decoded_batch import DecodedBatch
from scorestream.wallets.execution.history_lookup import wallet_rows
from scorestream.wallets.execution.incremental import score_increments, score_with_history_isolated
from scorestream.wallets.execution.scoring_task import score_isolated
from scorestream.wallets.execution.table_rows import BatchFacts, table_rows
from scorestream.wallets.schema.tables import TRANSACTIONS
from tools.testkit.golden import (
    configured_dex_v1,
    differences,
    golden_records,
    golden_wallets,
    results,
)
from tools.testkit.mortal import POISON, Mortal
from tools.testkit.records import records_of

SECONDS = 1.0


def mortal() -> Scoring:
    return Scoring.of("dex-v1", Mortal(configured_dex_v1().config))


def total(numbers: list[int]) -> int:
    """The sum; a 1 ends the process, a 2 exhausts memory, a 3 takes for ever, a 4 raises."""
    if 1 in numbers:
        os.kill(os.getpid(), signal.SIGKILL)
    if 2 in numbers:
        raise MemoryError
    if 3 in numbers:
        time.sleep(3600)
    if 4 in numbers:
        raise ValueError("four")
    if 5 in numbers:
        os._exit(9)
    return sum(numbers)


def halves(numbers: list[int]) -> list[list[int]]:
    middle = len(numbers) // 2
    return [part for part in (numbers[:middle], numbers[middle:]) if part]


@pytest.fixture
def process() -> Iterator[IsolatedProcess]:
    with IsolatedProcess(SECONDS, partial(total, [])) as made:
        yield made


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (1, "it ended the process: signal 9"),
        (2, OUT_OF_MEMORY),
        (3, "it took longer than 1 s"),
        (4, "ValueError: four"),
        (5, "it ended the process: exit code 9"),
    ],
)
def test_the_one_to_blame_is_found_and_the_others_are_done(
    process: IsolatedProcess, bad: int, why: str
) -> None:
    given_up: list[tuple[list[int], str]] = []

    def give_up(numbers: list[int], why: str) -> int:
        given_up.append((list(numbers), why))
        return -1

    numbers = [10, 20, bad, 30, 40, 50]
    done = list(
        isolate_failures(process, lambda n: partial(total, n), numbers, halves, give_up=give_up)
    )
    assert given_up == [([bad], why)]
    assert [n for part, _ in done for n in part] == numbers
    assert sum(answer for _, answer in done) == 150 - 1


def test_where_the_work_itself_cannot_be_prepared_nothing_is_given_up(
    process: IsolatedProcess,
) -> None:
    asked: list[list[int]] = []

    def call(numbers: list[int]) -> Callable[[], int]:
        asked.append(numbers)
        if len(numbers) > 2 or numbers == [30]:
            raise pa.lib.ArrowMemoryError("malloc of size 9 failed")
        return partial(total, numbers)

    done = isolate_failures(
        process, call, [10, 20, 30, 40], halves, give_up=lambda *_: pytest.fail("given up")
    )
    assert next(done) == ([10, 20], 30)
    assert next(done) == ([30, 40], 70)
    with pytest.raises(MemoryError):
        list(
            isolate_failures(
                process, call, [30], halves, give_up=lambda *_: pytest.fail("given up")
            )
        )
    assert asked[-2:] == [[30], [30]]


def die_once(mark: Path) -> int:
    """End the process, but not a second time."""
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return os.getpid()


def test_one_whose_process_died_of_something_else_is_done_in_a_new_one(
    process: IsolatedProcess, tmp_path: Path
) -> None:
    first = process.run(os.getpid)
    work = partial(die_once, tmp_path / "died")
    done = list(
        isolate_failures(
            process, lambda _: work, [10], halves, give_up=lambda *_: pytest.fail("given up")
        )
    )
    assert done == [([10], process.run(os.getpid))]
    assert done[0][1] != first


def test_before_one_is_given_up_its_new_process_has_to_be_well(tmp_path: Path) -> None:
    with IsolatedProcess(SECONDS, partial(fall_ill, tmp_path / "trials", 3)) as process:
        done = isolate_failures(
            process, lambda n: partial(total, n), [1], halves, give_up=lambda *_: -1
        )
        assert list(done) == [([1], -1)]
        done = isolate_failures(
            process, lambda n: partial(total, n), [1], halves, give_up=lambda *_: -1
        )
        with pytest.raises(ScorestreamError, match="does not start: out of memory"):
            list(done)


def fall_ill(trials: Path, times: int) -> None:
    """Succeed so many times, and never again."""
    with trials.open("a") as file:
        file.write("x")
    if trials.stat().st_size > times:
        raise MemoryError


def test_where_no_process_can_be_made_nothing_is_given_up(
    process: IsolatedProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_memory() -> None:
        raise MemoryError

    monkeypatch.setattr(process_isolation, "_Process", no_memory)
    done = isolate_failures(
        process, lambda n: partial(total, n), [10, 20], halves, give_up=lambda *_: -1
    )
    with pytest.raises(ScorestreamError, match="does not start: out of memory"):
        list(done)


LONG_LIVED = """
import os, re, sys
from functools import partial
from scorestream.infra.spark import process_isolation
from scorestream.infra.spark.process_isolation import IsolatedProcess
with IsolatedProcess(3600, int) as process:
    print(process.run(os.getpid), flush=True)
    process.run(partial(re.fullmatch, "(a+)+b", "a" * 64))
"""


def test_a_helper_whose_library_keeps_the_lock_ends_with_its_worker() -> None:
    worker = subprocess.Popen([sys.executable, "-c", LONG_LIVED], stdout=subprocess.PIPE)
    assert worker.stdout is not None
    process = psutil.Process(int(worker.stdout.readline()))
    before = process.cpu_times().user
    while process.cpu_times().user < before + 1:
        assert worker.poll() is None
        time.sleep(0.05)
    worker.kill()
    worker.communicate()
    # Reaped, or left for others to reap.
    with suppress(psutil.NoSuchProcess):
        deadline = time.monotonic() + 60
        while process.status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_what_is_well_is_done_at_once(process: IsolatedProcess) -> None:
    numbers = list(range(10, 20))
    done = list(
        isolate_failures(
            process, lambda n: partial(total, n), numbers, halves, give_up=lambda *_: -1
        )
    )
    assert done == [(numbers, sum(numbers))]


def test_nothing_outlives_the_helper(process: IsolatedProcess) -> None:
    number = process.run(os.getpid)
    assert psutil.pid_exists(number)
    process.stop()
    assert not psutil.pid_exists(number)


@pytest.mark.parametrize("trial", [partial(total, [1]), partial(total, [2]), partial(total, [4])])
def test_where_not_even_a_trial_succeeds_nothing_is_given_up(trial: Callable[[], int]) -> None:
    with (
        IsolatedProcess(SECONDS, trial) as process,
        pytest.raises(ScorestreamError, match="does not start"),
    ):
        list(
            isolate_failures(
                process, lambda n: partial(total, n), [10], halves, give_up=lambda *_: -1
            )
        )


def test_an_answer_that_cannot_be_handed_over_is_the_work_s_own_problem(
    process: IsolatedProcess,
) -> None:
    with pytest.raises(WorkFailed, match="pickle"):
        process.run(unpicklable)
    assert process.run(partial(total, [10])) == 10


def unpicklable() -> Callable[[], int]:
    return lambda: 1


def test_a_message_that_ends_the_process_is_rejected_and_all_others_are_scored(
    scoring: Scoring,
) -> None:
    records = golden_records()
    records.insert(7, POISON)
    scored = list(score_isolated([records_of(records)], (mortal(),), 20, include_transactions=True))
    assert sum(len(part) for _, part in scored) == len(records)
    rows = [
        row | {"offset": int(part.offsets[i])}
        for each, part in scored
        for i, row in enumerate(results(each))
    ]
    assert [row["offset"] for row in rows] == list(range(len(records)))
    [reject] = [row for row in rows if "error_code" in row]
    assert (reject["offset"], reject["error_code"], reject["wallet_address"]) == (
        7,
        "unscorable",
        "0xDead",
    )
    assert reject["error"] == "scoring it failed: it ended the process: signal 9"
    good = [row for row in rows if "error_code" not in row]
    for row, golden in zip(good, golden_wallets(), strict=True):
        assert differences(row, golden.expected) == []


def test_records_are_cut_until_they_are_single() -> None:
    records = records_of([Record(None, b"%d" % i, i) for i in range(40)])
    parts = records.parts(16)
    assert len(parts) == 16
    assert np.concatenate([part.offsets for part in parts]).tolist() == list(range(40))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert [len(part) for part in records.filter(np.arange(40) < 3).parts(16)] == [1, 1, 1]
    assert len(records.filter(np.arange(40) < 1).parts(16)) == 1


def test_of_increments_the_wallet_to_blame_is_found(scoring: Scoring) -> None:
    records = golden_records()
    records = [POISON, *records[:20], Record(None, b"nonsense", 0), *records[20:], POISON]
    batch = records_of(records)
    decoded = DecodedBatch(batch, decode(batch.values))
    asked: list[set[str]] = []

    def stored(keys: Sequence[str]) -> pa.Table:
        asked.append(set(keys))
        return schemas.WALLET_ROWS.empty_table()

    done = list(score_with_history_isolated(decoded, stored, (mortal(),), 20))
    rows = {
        int(each.records.offsets[i]): row
        for each in done
        for i, row in enumerate(results(each.scored))
    }
    assert set(rows) == set(range(len(records)))
    rejected = {at: row["error_code"] for at, row in rows.items() if "error_code" in row}
    assert rejected == {0: "unscorable", 21: "invalid_json", len(records) - 1: "unscorable"}
    assert asked[-1] != asked[0]
    # A message that ends its process alone, too, is kept out of the history.
    assert not any(row.get("transactions") for row in rows.values() if "error_code" in row)
    alone = score_increments(decoded, lambda _: schemas.WALLET_ROWS.empty_table(), (scoring,))
    expected = {i: row for i, row in enumerate(results(alone.scored)) if i not in rejected}
    assert {i: row for i, row in rows.items() if i not in rejected} == expected


def test_what_a_wallet_brings_is_kept_where_it_is_the_history_that_cannot_be_scored(
    scoring: Scoring,
) -> None:
    good = Record(None, (POISON.value or b"").replace(b"the end", b"well"), 5000)
    deadly = POISON._replace(timestamp=4000)
    batch = records_of([deadly, good], first_offset=1)
    decoded = DecodedBatch(batch, decode(batch.values))
    known = wallet_rows(stored_rows(records_of([POISON]), scoring))
    [done] = score_with_history_isolated(decoded, lambda _: known, (mortal(),), 20)
    assert [row["error_code"] for row in results(done.scored)] == ["unscorable"] * 2
    # The one that can be scored by itself.
    assert done.scored.transactions is not None
    assert done.scored.transactions["position"].to_pylist() == [1]


def stored_rows(records: Records, scoring: Scoring) -> pa.Table:
    """What `transactions` holds of messages."""
    scored = score_messages(records.values, records.as_of, (scoring,))
    return table_rows(scored, records, BatchFacts("run", 0, 0.0, code_version="1"))[TRANSACTIONS]
