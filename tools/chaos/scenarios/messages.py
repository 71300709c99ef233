"""Messages that come twice, late, out of order, out of time, or as nonsense."""

from __future__ import annotations

import re
import statistics
import urllib.request
from datetime import UTC, datetime, timedelta
from typing import Any

from scorestream.infra.kafka.producer import Record
from tools.chaos.scenario import scenario
from tools.chaos.site import Site
from tools.local.ports import free_port
from tools.testkit.expectations import Expected
from tools.testkit.golden import broken_records, golden_records
from tools.testkit.increments import check_last_scores, out_of_order

SCORING = "scorestream.wallets.core.pipeline:score_messages"
APPEND = "scorestream.infra.delta.warehouse:Warehouse.append"
STEPS_SECONDS = 300.0
DAY_MS = 86_400_000
YEAR_2200_MS = 7_258_118_400_000
EACH = 3000
A_BATCH = 1000


@scenario(
    "messages twice, out of order, and out of time",
    injected="one 50 times, shuffled; steps of a day back and forth; years 1970, 2200; no moment",
    expected="each is scored once, for the moment that it names; what names none is a reject",
)
def strange_times(site: Site) -> str:
    golden = golden_records()
    stepped = [
        record._replace(timestamp=(record.timestamp or 0) + step)
        for record, step in zip(golden, (0, DAY_MS, -DAY_MS) * len(golden), strict=False)
    ]
    # librdkafka sends the time of sending for 0.
    moments = (-1, 0, 1, 1000, YEAR_2200_MS, 2**63 - 1, -(2**63))
    strange = [golden[i]._replace(timestamp=moment) for i, moment in enumerate(moments)]
    records = [*stepped, *strange, *[golden[7]] * 50, *broken_records()[:-1]]
    site.chance.shuffle(records)
    site.installation.publish(records)
    site.drain("--max-offsets-per-trigger", "100")
    delivered = site.check()
    return f"{delivered.scores} scores, {delivered.rejects} rejects of {len(records)} messages"


@scenario(
    "the clock steps",
    injected="time.time of all the job's Python processes: in the midst of a task a day ahead; "
    "between commit and Kafka of a later batch to a day behind; under load",
    expected="the stream goes on; scores have the moments of their messages, `scored_at` the clock",
)
def stepping_clock(site: Site) -> str:
    faults = [
        {"point": SCORING, "call": 3, "action": f"clock:{DAY_MS // 1000}"},
        {"point": APPEND, "when": "after", "call": 30, "action": f"clock:-{DAY_MS // 1000}"},
    ]
    job = site.start(inject=faults)
    with site.load():
        job.wait_for(
            "both steps", lambda: len(site.faulted_processes()) == len(faults), STEPS_SECONDS
        )
        site.mark_fault()
        job.wait_for_batch(len(job.events("batch")) + 3)
    site.catch_up(job)
    site.finish(job)
    delivered = site.check()
    days = _days_scored(site)
    assert days == {-1, 0, 1}
    return f"{delivered.scores} scores, by a clock on {len(days)} days in one run"


def _days_scored(site: Site) -> set[int]:
    """How many days ahead the clock was, of all scores."""
    now = datetime.now(UTC)
    rows = site.installation.rows("scores")
    return {round((row["scored_at"] - now) / timedelta(days=1)) for row in rows}


@scenario(
    "what is new comes late",
    injected="WALLET_MESSAGES=incremental: each wallet's last part first, then one too early to "
    "have a score, one between, and the last again",
    expected="late transactions are counted as such; the last score counts all of them",
)
def late(site: Site) -> str:
    port = free_port()
    job = site.start(WALLET_MESSAGES="incremental", METRICS_PORT=str(port))
    parts = out_of_order()
    for records in parts:
        site.installation.publish(records)
        site.catch_up(job)
    value = _metric(port, "scorestream_late_transactions_total")
    site.finish(job)
    delivered = site.check(Expected(increments=site.installation.offsets()))
    assert delivered.rejects == len(parts[1])
    check_last_scores(_last_published(site, len(parts[-1])))
    assert value > 0
    return f"{value:.0f} late transactions counted"


def _last_published(site: Site, count: int) -> list[dict[str, Any]]:
    """The scores of each wallet's last message."""
    rows = site.installation.rows("scores")
    last = {row["wallet_key"]: row for row in sorted(rows, key=lambda row: row["batch_id"])}
    assert len(last) == count
    return list(last.values())


def _metric(port: int, name: str) -> float:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        match = re.search(rf"^{name} (.+)$", answer.read().decode(), re.MULTILINE)
    assert match, f"no metric {name}"
    return float(match[1])


@scenario(
    "nothing but nonsense comes",
    injected=f"{EACH} messages that can be scored, then as many that cannot",
    expected="all of these are rejected, no slower than a third of the others' rate",
)
def nonsense(site: Site) -> str:
    clean = [site.chance.choice(golden_records()) for _ in range(EACH)]
    corrupt = [_corrupted(site, record) for record in clean]
    job_options = ("--max-offsets-per-trigger", str(A_BATCH))
    site.installation.publish(clean)
    site.drain(*job_options)
    site.installation.publish(corrupt)
    site.drain(*job_options)
    delivered = site.check()
    assert (delivered.scores, delivered.rejects) == (EACH, EACH)
    rates = [_rate(site, number) for number in (0, 1)]
    assert rates[1] > rates[0] / 3
    return f"{rates[0]:.0f} scores a second, {rates[1]:.0f} rejects"


def _corrupted(site: Site, record: Record) -> Record:
    """Cut off somewhere within its JSON."""
    value = record.value or b""
    return record._replace(value=value[: site.chance.randrange(len(value))])


def _rate(site: Site, job: int) -> float:
    """Messages a second of a job's batches, the first left out: it waits for Python to start."""
    rates = [float(event["rate"]) for event in site.jobs[job].events("batch")]
    return statistics.median(rates[1:])
