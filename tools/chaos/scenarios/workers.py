"""What happens to the processes in which messages are scored, and which messages do it to them."""

from __future__ import annotations

from statistics import median

import psutil

from scorestream.infra.kafka.producer import Record
from tools.chaos.job import END_SECONDS, Job, kill_process
from tools.chaos.scenario import scenario
from tools.chaos.site import CAUGHT_UP_SECONDS, Site
from tools.chaos.whale import small_rows, whale
from tools.testkit.expectations import Expected

SCORING = "scorestream.wallets.core.pipeline:score_messages"
TASK = "scorestream.wallets.stream.transform:ScoringTask.score"
KILLS = 5
# With care it takes some seconds; on a machine that is busy with other things, minutes.
CAREFUL_SECONDS = 420.0
WHALE_TRANSACTIONS = 100_000
SMALL_TRANSACTIONS = 1_200_000
# Of each worker. It counts addresses: Python, its libraries and their threads alone take 1.6 GB.
TOO_LITTLE_MEMORY = "2000m"
SHORT_TASK = "60"
# Batches before and after a whale, and how many times as long they may take after it.
COMPARED = 5
PATIENCE = 5


@scenario(
    "a Python worker is killed",
    injected=f"kill -9 in the midst of two tasks, and {KILLS} times of any worker, under load",
    expected="the task is done again, the stream goes on; nothing lost or double",
)
def killed(site: Site) -> str:
    fault = {"point": SCORING, "call": 3, "action": "die", "times": 2}
    job = site.start(inject=[fault])
    with site.load(rate=200):
        for number in range(KILLS):
            job.wait_for_batch(3 * number + 1)
            _kill_a_worker(site, job)
        site.mark_fault()
        job.wait_for_batch(3 * KILLS + 1)
    site.catch_up(job)
    assert len(site.faulted_processes()) == 2
    site.finish(job)
    site.check()
    return f"{2 + KILLS} workers died, {len(job.events('batch'))} batches in one run"


@scenario(
    "a Python worker is stopped, another hangs",
    injected=f"SIGSTOP in a task and endless waiting in another; a task may take {SHORT_TASK} s",
    expected="both are killed after that time, their tasks are done again, the stream goes on",
)
def stopped_and_hanging(site: Site) -> str:
    faults = [
        {"point": TASK, "call": 2, "action": "stop"},
        {"point": TASK, "call": 3, "action": "hang"},
    ]
    job = site.start(inject=faults, SCORESTREAM_TASK_SECONDS=SHORT_TASK)
    with site.load():
        job.wait_for("both faults", lambda: len(site.faulted_processes()) == len(faults), 300)
        site.mark_fault()
        enough = len(job.events("batch")) + 2
        job.wait_for("more batches", lambda: len(job.events("batch")) >= enough, 300)
    site.catch_up(job)
    site.finish(job)
    delivered = site.check()
    kills = [event["seconds"] for event in job.events("task_killed")]
    assert len(kills) >= len(faults)
    return f"killed after {_listed(kills)} s; {delivered.scores} scores"


@scenario(
    "a Python worker dies at every attempt of a task",
    injected="kill -9 at the begin of each task, where no message is to blame",
    expected="the job ends after four attempts, exit code 1, with the reason; the next start goes "
    "on; nothing is rejected for it",
)
def killed_always(site: Site) -> str:
    site.publish(60)
    job = site.start(inject=[{"point": TASK, "call": 0, "times": 0, "action": "die"}])
    assert job.wait() == 1, job.output[-4000:]
    last = job.output.strip().splitlines()[-1]
    assert "the Python worker of a task ended at every attempt" in last, last
    site.mark_fault()
    site.drain()
    site.check()
    return last.partition(": ")[2].partition(":")[0]


@scenario(
    "a message ends the process that scores it",
    injected="kill -9 wherever one message is scored, MemoryError wherever another is",
    expected="both become rejects (`unscorable`), all others are scored, the stream goes on",
    quick=True,
)
def deadly_message(site: Site) -> str:
    faults = [
        {"point": SCORING, "call": 0, "times": 0, "action": "die", "holding": "poison-1"},
        {"point": SCORING, "call": 0, "times": 0, "action": "exhaust", "holding": "poison-2"},
    ]
    site.publish(60)
    _publish_poison(site, "poison-1", "poison-2")
    site.publish(60)
    site.mark_fault()
    job = site.start(inject=faults)
    site.catch_up(job, CAREFUL_SECONDS)
    site.publish(60)
    site.catch_up(job)
    site.finish(job)
    site.check(Expected(unscorable={"poison-1", "poison-2"}))
    errors = _unscorable(site)
    assert errors == {
        "poison-1": "scoring it failed: it ended the process: signal 9",
        "poison-2": "scoring it failed: out of memory",
    }
    return "both rejected, at the second attempt of their tasks"


@scenario(
    "a message takes for ever",
    injected=f"endless waiting wherever one message is scored; a task may take {SHORT_TASK} s",
    expected="it becomes a reject (`unscorable`), all others are scored, the stream goes on",
)
def endless_message(site: Site) -> str:
    fault = {"point": SCORING, "call": 0, "times": 0, "action": "hang", "holding": "poison-3"}
    site.publish(60)
    _publish_poison(site, "poison-3")
    site.publish(60)
    site.mark_fault()
    job = site.start(inject=[fault], SCORESTREAM_TASK_SECONDS=SHORT_TASK)
    site.catch_up(job, CAREFUL_SECONDS)
    site.finish(job)
    site.check(Expected(unscorable={"poison-3"}))
    assert _unscorable(site) == {"poison-3": "scoring it failed: it took longer than 5 s"}
    return f"rejected, {len(job.events('task_killed'))} task killed before"


@scenario(
    "a whale: a wallet of 100,000 transactions",
    injected="one message of 50 MB among others, under load",
    expected="it is scored like any other, to the last digit, and so are the others; batches "
    f"after its own take no more than {PATIENCE} times as long as before (medians)",
)
def huge_wallet(site: Site) -> str:
    big = whale("whale", WHALE_TRANSACTIONS)
    job = site.start()
    with site.load():
        job.wait_for_batch(1 + COMPARED)
        before = len(job.events("batch"))
        site.installation.publish([big])
        site.mark_fault()
        job.wait_for("the whale", lambda: _has_scored(job, WHALE_TRANSACTIONS), 300)
        beside = len(job.events("batch"))
        job.wait_for_batch(beside + COMPARED)
    site.catch_up(job)
    site.finish(job)
    site.check()
    return f"scored; {_latency(job, before, beside)}"


@scenario(
    "a whale, and workers without the memory for it",
    injected=f"{SMALL_TRANSACTIONS:,} small transactions in one message among others, with "
    f"spark.executor.pyspark.memory={TOO_LITTLE_MEMORY}",
    expected="it becomes a reject (`unscorable`), all others are scored, the stream goes on; "
    f"batches after its own take no more than {PATIENCE} times as long as before (medians)",
)
def wallet_beyond_memory(site: Site) -> str:
    job = site.start(
        spark=f"--conf spark.executor.pyspark.memory={TOO_LITTLE_MEMORY}",
        MALLOC_ARENA_MAX="2",  # each arena takes 64 MB of addresses
    )
    _deliver_batches(site, job, 1 + COMPARED)
    before = len(job.events("batch"))
    site.publish(60)
    site.installation.publish([small_rows("whale", SMALL_TRANSACTIONS)])
    site.publish(60)
    site.mark_fault()
    _catch_up(site, job, CAREFUL_SECONDS)
    beside = len(job.events("batch"))
    _deliver_batches(site, job, COMPARED)
    site.finish(job)
    site.check(Expected(unscorable={"whale"}))
    errors = _unscorable(site)
    assert list(errors) == ["whale"], errors
    return f"{errors['whale']}; {_latency(job, before, beside)}"


def _deliver_batches(site: Site, job: Job, count: int) -> None:
    """Publish and wait so many times."""
    for _ in range(count):
        site.publish(20)
        _catch_up(site, job)


def _catch_up(site: Site, job: Job, seconds: float = CAUGHT_UP_SECONDS) -> None:
    """Wait until it has delivered all that is published now, and told of it."""
    site.catch_up(job, seconds)
    expected = site.published()
    job.wait_for("its report", lambda: _describe(job) >= expected, seconds)


def _describe(job: Job) -> int:
    return sum(int(event["messages"]) for event in job.events("batch"))


def _latency(job: Job, before: int, beside: int) -> str:
    """What wallets wait for beside a whale, and that nobody waits for it any more afterwards.

    A wallet waits for the whole batch that it is in. Compared are the medians of batches, the
    first left out: it waits for Python to start.

    Args:
        job: with a whale.
        before: how many batches it had delivered when the whale came.
        beside: how many when the whale was delivered.
    """
    seconds = [float(event["seconds"]) for event in job.events("batch")]
    usual, after = median(seconds[1:before]), median(seconds[beside:])
    assert after < PATIENCE * usual, (usual, after)
    return (
        f"others waited {max(seconds[before:beside]):.1f} s beside it, {usual:.1f} s before, "
        f"{after:.1f} s after"
    )


def _kill_a_worker(site: Site, job: Job) -> None:
    running: list[psutil.Process] = []

    def look() -> bool:
        running[:] = job.workers()
        return bool(running)

    job.wait_for("a worker", look, 300)
    victim = site.chance.choice(running)
    kill_process(victim)
    victim.wait(END_SECONDS)


def _publish_poison(site: Site, *wallets: str) -> None:
    """Messages of one swap each."""
    swap = '{"document_id": "0", "action": "swap", "timestamp": 0}'
    entry = f'{{"protocolType": "dexes", "transactions": [{swap}]}}'
    values = [f'{{"wallet_address": "{each}", "data": [{entry}]}}' for each in wallets]
    site.installation.publish([Record(None, value.encode(), 0) for value in values])


def _unscorable(site: Site) -> dict[str, str]:
    """Errors of the messages that nothing could score, by wallet."""
    rejects = site.installation.rows("rejects")
    ours = [row for row in rejects if row["error_code"] == "unscorable"]
    return {row["wallet_address"]: row["error"] for row in ours}


def _has_scored(job: Job, transactions: int) -> bool:
    return any(event["transactions"] >= transactions for event in job.events("batch"))


def _listed(seconds: list[float]) -> str:
    return ", ".join(f"{each:.0f}" for each in seconds)
