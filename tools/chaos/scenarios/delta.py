"""The tables' commits meet others, get lost, or find no room."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from tools.chaos.disk import small_disk
from tools.chaos.job import Job
from tools.chaos.scenario import scenario
from tools.chaos.site import CAUGHT_UP_SECONDS, Site
from tools.testkit.expectations import Expected
from tools.testkit.golden import golden_records, golden_wallets

BATCHES = ("--max-offsets-per-trigger", "50")
COMMIT = "deltalake.table:DeltaTable.create_write_transaction"
REPLACE = "scorestream.infra.delta.warehouse:Warehouse.replace"
APPEND = "scorestream.infra.delta.warehouse:Warehouse.append"
CONFLICTS = 3
# The log and a plan of a batch fit in, data files do not.
PAGES_LEFT = 6


@scenario(
    "upkeep and a backfill beside the stream",
    injected="compact_tables twice, and a backfill with --publish at the same time, under load",
    expected="all three end well; nothing lost, nothing double",
)
def busy_tables(site: Site) -> str:
    golden = site.folder / "golden.jsonl"
    golden.write_text(
        "".join(
            f"{json.dumps({'as_of': g.as_of, 'message': g.message})}\n" for g in golden_wallets()
        )
    )
    with site.load():
        job = site.start(*BATCHES)
        job.wait_for_batch(3)
        site.mark_fault()
        backfill = site.start(
            "backfill_scores", "--input", str(golden), "--as-of", "record", "--publish"
        )
        upkeep = ("compact_tables", "--cluster-percent", "0", "--vacuum-hours", "24")
        for _ in range(2):
            _ends_well(site.start(*upkeep))
        _ends_well(backfill)
    site.finish(job)
    # The backfill's rows are counted with the stream's: only draining tells the end of its backlog.
    site.drain()
    site.check()
    return f"{len(job.events('batch'))} batches meanwhile"


@scenario(
    "two upkeeps at once, on two machines",
    injected="compact_tables is stopped (SIGSTOP) before its first commit; another one with the "
    "file: URI of the warehouse, on which the lock is none, does all of it; the first goes on; a "
    "stream and its own tidying beside them",
    expected="both end well; nothing lost, nothing double",
    quick=True,
)
def two_upkeeps(site: Site) -> str:
    with site.load():
        job = site.start(*BATCHES)
        job.wait_for_batch(3)
        upkeep = ("compact_tables", "--cluster-percent", "0")
        first = site.start(*upkeep, inject=[{"point": REPLACE, "call": 0, "action": "stop"}])
        first.wait_for("the stop", lambda: bool(site.faulted_processes()), CAUGHT_UP_SECONDS)
        site.mark_fault()
        lock = {"point": "scorestream.infra.storage.locks:_lock_file", "call": 0, "times": 0}
        elsewhere = lock | {"action": f"return:{site.folder / 'another-machine.lock'}"}
        second = site.start(
            *upkeep, inject=[elsewhere], SCORESTREAM_WAREHOUSE=site.warehouse.as_uri()
        )
        _ends_well(second)
        os.kill(site.faulted_processes()[0], signal.SIGCONT)
        _ends_well(first)
    site.finish(job)
    site.drain()
    site.check()
    return f"{len(job.events('batch'))} batches meanwhile"


def _ends_well(job: Job) -> None:
    assert job.wait() == 0, job.output[-4000:]


@scenario(
    "a commit meets others, or its answer is lost",
    injected="3 commits refused, one that was made reported as refused; the properties of `scores` "
    "changed all the time; then an error after a commit",
    expected="refused ones are made again, none twice; the error ends the job with exit code 1, "
    "the next goes on",
    quick=True,
)
def conflicts(site: Site) -> str:
    refused = {
        "point": COMMIT,
        "call": 0,
        "times": CONFLICTS,
        "action": "raise:a made-up conflict",
        "error": "deltalake.exceptions:CommitFailedError",
    }
    unanswered = refused | {"when": "after", "call": 12, "times": 1}
    lost = {"point": APPEND, "when": "after", "call": 20, "action": "raise:the answer is lost"}
    site.publish(400)
    job = site.start(*BATCHES, inject=[refused, unanswered, lost])
    job.wait_for_batch(1)
    with _changed_properties(site.warehouse / "scores") as changes:
        line = site.wait_for_refusal(job, 1, "the stream failed", "the answer is lost")
    site.mark_fault()
    site.drain()
    site.check()
    assert len(site.faulted_processes()) == CONFLICTS + 2
    assert changes, "nothing was changed meanwhile"
    return f"{len(changes)} changes of properties; {line}"


@contextmanager
def _changed_properties(table: Path) -> Iterator[list[int]]:
    """Change a property of a table again and again; a number for each time that it was done."""
    ended = threading.Event()
    changes: list[int] = []

    def run() -> None:
        while not ended.wait(0.2):
            try:
                properties = {"scorestream.chaos": str(len(changes))}
                DeltaTable(table).alter.set_table_properties(properties, raise_if_not_exists=False)
            except DeltaError:
                # Here it was the stream's commit that came first.
                continue
            changes.append(len(changes))

    thread = threading.Thread(target=run, name="properties")
    thread.start()
    try:
        yield changes
    finally:
        ended.set()
        thread.join()


@scenario(
    "the disk is full",
    injected="a file fills the disk: first nothing more fits on it, then only the plan of a batch",
    expected="the job says so and ends with 1; with room again the next start goes on",
)
def full_disk(site: Site) -> str:
    with small_disk(site.warehouse, "24m") as disk:
        for left in (0, PAGES_LEFT):
            site.publish(50)
            job = site.start(*BATCHES, prefix=disk.prefix)
            job.wait_for_batch()
            disk.fill(left)
            site.publish(200)
            line = site.wait_for_refusal(
                job, 1, "DiskFullError", "no space left", str(site.warehouse)
            )
            disk.free()
        site.mark_fault()
        site.drain(prefix=disk.prefix)
        disk.copy_out()
    site.check()
    return line


@scenario(
    "a loss of power has damaged the newest commit of a table",
    injected="cut in half while the job is down (scores); overwritten while it runs (transactions)",
    expected="refused, the file is named; as docs/troubleshooting.md says, nothing is lost",
)
def damaged_log(site: Site) -> str:
    golden = golden_records()
    site.installation.publish(golden[:40])
    site.drain("--max-offsets-per-trigger", "20")
    commit = _newest_commit(site.warehouse / "scores")
    commit.write_bytes(commit.read_bytes()[: commit.stat().st_size // 2])
    site.wait_for_refusal(site.start(), 3, "DamagedTableError", str(commit))

    _move_away(commit)
    lost = site.find_unstored()
    job = site.start("--checkpoint", str(site.folder / "second"))
    site.installation.publish(golden[40:60])
    job.wait_for("all scores", lambda: site.count_rows() >= 60, CAUGHT_UP_SECONDS)
    job.wait_for("the last batch", lambda: _is_idle(site, job), CAUGHT_UP_SECONDS)
    commit = _newest_commit(site.warehouse / "transactions")
    commit.write_bytes(bytes(commit.stat().st_size))
    site.installation.publish(golden[60:])
    line = site.wait_for_refusal(job, 3, "DamagedTableError", str(commit))

    _move_away(commit)
    site.mark_fault()
    site.drain("--checkpoint", str(site.folder / "third"))
    site.check(Expected(made_anew=lost))
    return line


def _newest_commit(table: Path) -> Path:
    return max((table / "_delta_log").glob("*.json"))


def _move_away(commit: Path) -> None:
    commit.rename(commit.with_suffix(".damaged"))


def _is_idle(site: Site, job: Job) -> bool:
    """Whether all batches that it delivered are in its checkpoint."""
    commits = site.folder / "second" / "commits"
    done = [path for path in commits.glob("*") if path.name.isdecimal()]
    return len(done) == len(job.events("batch")) and site.count_rows() == site.published()
