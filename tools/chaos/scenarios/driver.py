"""The driver dies."""

from __future__ import annotations

import time

from tools.chaos.job import START_SECONDS, Job
from tools.chaos.scenario import scenario
from tools.chaos.site import Site
from tools.testkit.installation import offsets_of

# Where in a batch, and at which call of each start: the first batch of a start may resume one that
# was cut off, so the second one is met as well.
APPEND = "scorestream.infra.delta.warehouse:Warehouse.append"
COMMIT = "scorestream.infra.delivery.commit:commit_batch"
PUBLISH = "scorestream.infra.delivery.publishing:publish"
RECORD = "scorestream.infra.delivery.coverage_table:CoverageTable.write"
WINDOWS = {
    "before the commit": (COMMIT, "before", 2),
    "after the first table": (APPEND, "after", 4),
    "after the second table": (APPEND, "after", 5),
    "after the last table": (APPEND, "after", 6),
    "before Kafka": (PUBLISH, "before", 2),
    "in the midst of a resumed Kafka": ("scorestream.infra.kafka.producer:produce", "after", 1),
    "after Kafka": (PUBLISH, "after", 2),
    "after the record": (RECORD, "after", 3),
    "before the commit of a resumed batch": (COMMIT, "before", 1),
    "before Kafka of a resumed batch": (PUBLISH, "before", 1),
}
# What leaves transactions without their scores, for the next start to mend.
TORN = ("after the first table", "after the second table")
RANDOM_KILLS = 30
SMALL_BATCHES = ("--max-offsets-per-trigger", "100")


@scenario(
    "the driver is killed in every window of a batch",
    injected=f"kill -9 of all its processes at {len(WINDOWS)} points of the code, in turn",
    expected="the next start goes on; nothing lost, nothing double in Delta",
    quick=True,
)
def every_window(site: Site) -> str:
    kills = killed_in_every_window(site)
    site.mark_fault()
    site.drain()
    site.check()
    return f"{kills} kills, resumed each time"


def killed_in_every_window(site: Site) -> int:
    """Kill the driver in each window in turn, each time in another start; how often that was."""
    site.publish(60)
    for name, (point, when, call) in WINDOWS.items():
        fault = {"point": point, "when": when, "call": call, "action": "kill"}
        job = site.start("--max-offsets-per-trigger", "20", inject=[fault])
        assert job.wait() == -9, f"{name}: {job.output[-4000:]}"
        assert _is_torn(site) == (name in TORN), name
        site.publish(20)
    return len(WINDOWS)


@scenario(
    "the driver is killed again and again",
    injected=f"{RANDOM_KILLS} times kill -9 of all its processes at random moments, under load",
    expected="as above",
)
def random_moments(site: Site) -> str:
    batches = 0
    with site.load():
        starting, scoring = _pace(site)
        for number in range(RANDOM_KILLS):
            job = site.start(*SMALL_BATCHES)
            # Most of them while it scores: a third falls into its start.
            if number % 3:
                _wait_for_stream(job)
            job.linger(site.chance.uniform(0, 3 * scoring if number % 3 else starting))
            job.kill()
            batches += len(job.events("batch"))
    assert batches > RANDOM_KILLS / 4, "the kills came too early to tell anything"
    site.mark_fault()
    site.drain()
    site.check()
    return f"{RANDOM_KILLS} kills; {batches} batches were delivered between them"


def _pace(site: Site) -> tuple[float, float]:
    """Seconds until the stream starts, and from there to its first batch, on this machine."""
    began = time.monotonic()
    job = site.start(*SMALL_BATCHES)
    _wait_for_stream(job)
    started = time.monotonic()
    job.wait_for_batch()
    scored = time.monotonic()
    job.kill()
    return started - began, scored - started


def _wait_for_stream(job: Job) -> None:
    job.wait_for("the stream", lambda: bool(job.events("stream_started")), START_SECONDS)


def _is_torn(site: Site) -> bool:
    """Whether `transactions` has messages that `scores` lacks."""
    rows = site.installation.rows
    return bool(set(offsets_of(rows("transactions"))) - set(offsets_of(rows("scores"))))


@scenario(
    "the checkpoint has forgotten its last commit",
    injected="the newest file of commits/ is deleted",
    expected="what is recorded as delivered is neither scored nor published again",
)
def lost_commit(site: Site) -> str:
    site.publish(60)
    site.drain("--max-offsets-per-trigger", "20")
    newest = max(
        (path for path in (site.checkpoint / "commits").iterdir() if path.name.isdigit()),
        key=lambda path: int(path.name),
    )
    newest.unlink()
    (newest.parent / f".{newest.name}.crc").unlink(missing_ok=True)
    site.publish(20)
    site.mark_fault()
    site.drain()
    assert site.check().repeated == 0
    return f"batch {newest.name} was planned again, and nothing done"


@scenario(
    "JVM or Python of the driver dies under a supervisor",
    injected="kill -9 of the one, then of the other; `--supervise`",
    expected="started again by itself, nothing lost; a stop still ends it with exit code 0",
    quick=True,
)
def supervised(site: Site) -> str:
    with site.load():
        job = site.start(supervised=True)
        job.wait_for_batch()
        job.jvm().kill()
        _wait_for_next_batch(job)
        site.mark_fault()
        job.driver().kill()
        _wait_for_next_batch(job)
    site.catch_up(job)
    site.finish(job)
    site.check()
    restarts = job.output.count("starts again in")
    assert restarts == 2, job.output[-4000:]
    return f"{restarts} restarts, then a stop in peace"


@scenario(
    "a failure that does not pass, under a supervisor",
    injected="the commit raises in every start; SUPERVISE_ATTEMPTS=3",
    expected="gives up with a message and exit code 1; the next start resumes",
)
def hopeless(site: Site) -> str:
    site.publish(20)
    fault = {
        "point": COMMIT,
        "call": 0,
        "action": "raise:no such luck",
        "times": 100,
    }
    job = site.start(supervised=True, inject=[fault], SUPERVISE_ATTEMPTS="3", SUPERVISE_PAUSE="1")
    line = site.wait_for_refusal(job, 1, "supervisor:", "gave up")
    assert job.output.count("no such luck") >= 3, job.output[-4000:]
    site.mark_fault()
    site.drain()
    site.check()
    return line.partition(": ")[2]


def _wait_for_next_batch(job: Job) -> None:
    job.wait_for_batch(len(job.events("batch")) + 1)
