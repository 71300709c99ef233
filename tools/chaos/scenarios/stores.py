"""The warehouse and the checkpoint are in an object store."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from tools.chaos.scenario import Skipped, scenario
from tools.chaos.scenarios.driver import killed_in_every_window
from tools.chaos.site import Site
from tools.testkit.go_programs import has_go
from tools.testkit.object_store import BUCKET, S3Store, s3_store

AWAY_SECONDS = 20.0


@contextmanager
def on_s3(site: Site) -> Iterator[S3Store]:
    """Have a site's warehouse and checkpoints in an S3 store of its own."""
    if not has_go():
        raise Skipped("needs Go, of which the store's server is built")
    with s3_store(site.folder / "s3") as store:
        site.move_to(f"s3a://{BUCKET}")
        yield store


@scenario(
    "the driver is killed in every window of a batch, over S3",
    injected="as driver.every_window, over an S3 store; then compaction and another batch",
    expected="the next start goes on; nothing lost, nothing double in Delta",
    quick=True,
)
def s3_every_window(site: Site) -> str:
    with on_s3(site):
        kills = killed_in_every_window(site)
        compaction = site.start("compact_tables", "--cluster-percent", "0")
        assert compaction.wait() == 0, compaction.output[-4000:]
        site.publish(20)
        site.drain()
        site.check()
    return f"{kills} kills, resumed each time; compacted between batches"


@scenario(
    "the object store goes away and comes back",
    injected=f"the S3 server is killed under load, and started again after {AWAY_SECONDS:.0f} s",
    expected="the stream goes on, by itself or started again; nothing lost, nothing double",
    quick=True,
)
def s3_away(site: Site) -> str:
    with on_s3(site) as store:
        job = site.start(supervised=True)
        with site.load(rate=20):
            job.wait_for_batch()
            site.mark_fault()
            store.kill()
            job.linger(AWAY_SECONDS)
            store.start()
            began = time.monotonic()
            job.wait_for_batch(len(job.events("batch")) + 1)
            recovered = time.monotonic() - began
        site.catch_up(job)
        site.finish(job)
        site.check()
    restarts = job.output.count("supervisor: ")
    return f"batches again {recovered:.0f} s after it was back, {restarts} restart(s)"
