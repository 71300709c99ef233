"""The checkpoint is lost, damaged, an older copy, or used for something else."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from typing import Any

from scorestream.infra.config.settings import PROJECT_ROOT
from scorestream.infra.kafka.producer import Record
from scorestream.wallets.core.scoring import Scoring
from tools.chaos.job import START_SECONDS, Job
from tools.chaos.scenario import scenario
from tools.chaos.site import Site
from tools.testkit.expectations import Expected
from tools.testkit.golden import configured_scoring, golden_records
from tools.testkit.increments import check_last_scores, increments
from tools.testkit.installation import Offset, offsets_of

BATCHES = ("--max-offsets-per-trigger", "20")
APPEND = "scorestream.infra.delta.warehouse:Warehouse.append"
COMMIT = "scorestream.infra.delivery.commit:commit_batch"
OTHER_VERSION = "another+version"
OTHER_CODE = {
    "point": "scorestream.infra.version:code_version",
    "call": 0,
    "times": 0,
    "action": f"return:{OTHER_VERSION}",
}
POINTS = "volume: {points: 300,"
OTHER_POINTS = "volume: {points: 310,"
ANOTHER_STABLE = """
- {symbol: XXX, address: "0x0000000000000000000000000000000000000bad", decimals: 18, stable: true}
"""


# Of the first batch of a start, which goes on with what the one before left, or of the second.
RECORD = "scorestream.infra.delivery.coverage_table:CoverageTable.write"
LOST_IN = {
    "after the first table": (APPEND, "after", 1),
    "after the second table": (APPEND, "after", 2),
    "after the second table of the second batch": (APPEND, "after", 5),
    "before Kafka": ("scorestream.infra.delivery.publishing:publish", "before", 2),
    "in the midst of Kafka": ("scorestream.infra.kafka.producer:produce", "after", 1),
    "before the record": (RECORD, "before", 3),
    "after the record": (RECORD, "after", 2),
}


@scenario(
    "the checkpoint is lost after a crash",
    injected="kill -9 after a table, and before Kafka; each time the folder is deleted and the "
    "clock steps by days",
    expected="each start goes on after what is delivered; nothing lost, nothing double in Delta",
    quick=True,
)
def lost(site: Site) -> str:
    return _crash_loop(site, ["after the first table", "before Kafka"])


@scenario(
    "the checkpoint is lost after every crash",
    injected=f"as above, in {len(LOST_IN)} windows of a batch, in turn",
    expected="as above",
    quick=True,
)
def lost_every_time(site: Site) -> str:
    return _crash_loop(site, list(LOST_IN))


def _crash_loop(site: Site, windows: list[str]) -> str:
    """Kills in these windows, each of a start with a checkpoint of its own."""
    site.publish(60)
    for number, name in enumerate(windows):
        point, when, call = LOST_IN[name]
        days = (number + 1) * (-1) ** number
        faults = [
            {"point": COMMIT, "call": 1, "action": f"clock:{days * 86_400}"},
            {"point": point, "when": when, "call": call, "action": "kill"},
        ]
        job = site.start(*BATCHES, inject=faults)
        assert job.wait() == -9, f"{name}: {job.output[-4000:]}"
        shutil.rmtree(site.checkpoint)
        site.publish(20)
    site.mark_fault()
    site.drain()
    site.check()
    runs = {row["run_id"] for row in site.installation.rows("scores")}
    assert len(runs) > 1
    return f"{len(windows)} kills, {len(runs)} checkpoints that stored something"


@scenario(
    "a loss of power has cut off files of the checkpoint",
    injected="offsets/ of a batch planned and not done is cut in half; `metadata` is emptied",
    expected="each start is refused and names the file; a new checkpoint goes on where it must",
)
def damaged(site: Site) -> str:
    site.publish(60)
    fault = {"point": COMMIT, "call": 2, "action": "kill"}
    assert site.start(*BATCHES, inject=[fault]).wait() == -9
    planned = site.checkpoint / "offsets" / "1"
    whole = planned.read_bytes()
    for file, content in ((planned, whole[: len(whole) // 2]), (site.checkpoint / "metadata", b"")):
        file.write_bytes(content)
        (file.parent / f".{file.name}.crc").unlink(missing_ok=True)
        line = site.wait_for_refusal(
            site.start(), 3, "CheckpointError", str(file), "a new --checkpoint"
        )
        planned.write_bytes(whole)
    site.publish(20)
    site.mark_fault()
    site.drain("--checkpoint", str(site.folder / "another"))
    site.check()
    return line


@scenario(
    "a second copy of the job on the same checkpoint",
    injected="the job is started twice",
    expected="the second is refused, the first goes on",
)
def two_copies(site: Site) -> str:
    site.publish(20)
    first = site.start()
    first.wait_for_batch()
    site.mark_fault()
    line = site.wait_for_refusal(site.start(), 3, "InUseError", "in use by another process")
    site.publish(20)
    site.catch_up(first)
    site.finish(first)
    site.check()
    return line


@scenario(
    "another machine starts a stream on the same checkpoint",
    injected="the second names folders otherwise and has its own files for locks; first while the "
    "other works, then while all of that one's Python stands still before a commit (SIGSTOP)",
    expected="refused; then it takes over, and the one that wakes up commits nothing more",
    quick=True,
)
def two_machines(site: Site) -> str:
    site.publish(20)
    ours = ("--checkpoint", str(site.folder / "checkpoint"), *BATCHES)
    first = site.start(*ours, inject=[{"point": COMMIT, "call": 2, "action": "stop"}])
    first.wait_for_batch()
    line = site.wait_for_refusal(_elsewhere(site), 3, "InUseError", "is in use by process")

    site.publish(20)
    first.wait_for("the stop", lambda: bool(site.faulted_processes()), START_SECONDS)
    site.mark_fault()
    second = _elsewhere(site)
    assert second.wait() == 0, second.output[-6000:]
    os.kill(site.faulted_processes()[0], signal.SIGCONT)
    site.wait_for_refusal(first, 3, "InUseError", "was taken over by another process")
    site.publish(20)
    site.drain(*ours)
    site.check()
    return line


def _elsewhere(site: Site) -> Job:
    """A stream as another machine would start it, on the same checkpoint and warehouse."""
    said = {
        "scorestream.infra.storage.lease:machine_id": "another",
        "scorestream.infra.storage.locks:_lock_file": str(site.folder / "another-machine.lock"),
    }
    faults = [
        {"point": point, "call": 0, "times": 0, "action": f"return:{text}"}
        for point, text in said.items()
    ]
    return site.start(
        "--available-now",
        "--checkpoint",
        (site.folder / "checkpoint").as_uri(),
        inject=faults,
        SCORESTREAM_WAREHOUSE=site.warehouse.as_uri(),
    )


@scenario(
    "checkpoint and warehouse do not belong together",
    injected="moved warehouse; another one; an older copy of the checkpoint; one of the warehouse",
    expected="moved: goes on; the others: refused; a new checkpoint makes up for the lost rows",
)
def another_warehouse(site: Site) -> str:
    checkpoint = site.folder / "checkpoint"
    ours = ("--checkpoint", str(checkpoint), *BATCHES)
    golden = golden_records()
    site.installation.publish(golden[:40])
    site.drain(*ours)
    older = [_copy(site.warehouse), _copy(checkpoint)]
    site.installation.publish(golden[40:80])

    moved = site.folder / "moved"
    site.warehouse.rename(moved)
    site.drain(*ours, SCORESTREAM_WAREHOUSE=str(moved))
    moved.rename(site.warehouse)

    job = site.start(*ours, SCORESTREAM_WAREHOUSE=str(site.folder / "empty"))
    site.wait_for_refusal(job, 3, "CheckpointError", "another table", "SCORESTREAM_WAREHOUSE")
    job = site.start("--checkpoint", str(older[1]))
    site.wait_for_refusal(job, 3, "CheckpointError", "the checkpoint is an older copy")

    shutil.rmtree(site.warehouse)
    older[0].rename(site.warehouse)
    lost = site.find_unstored()
    line = site.wait_for_refusal(
        site.start(*ours), 3, "CheckpointError", "the warehouse is an older copy"
    )
    site.mark_fault()
    site.drain("--checkpoint", str(site.folder / "new"))
    site.check(Expected(made_anew=lost))
    return line


def _copy(folder: Path) -> Path:
    return Path(shutil.copytree(folder, folder.with_name(f"{folder.name}-older")))


@scenario(
    "started again with other settings, by other code",
    injected="other constants, code version, batch sizes, result topic, tables, messages; another "
    "input topic",
    expected="the cut-off batch keeps its scores; only another input topic is refused",
)
def other_settings(site: Site) -> str:
    conf = _changed_conf(site.folder)
    parts = increments()
    site.installation.publish([*golden_records()[:40], *parts[0]])
    fault = {"point": APPEND, "when": "after", "call": 6, "action": "kill"}
    assert site.start(*BATCHES, inject=[fault]).wait() == -9
    before = set(offsets_of(site.installation.rows("scores")))
    site.mark_fault()
    site.drain(
        "--max-offsets-per-trigger",
        "50",
        "--trigger",
        "1 second",
        inject=[OTHER_CODE],
        SCORESTREAM_CONF=conf,
    )
    site.check(Expected(scorings=_scorings(conf)))
    _check_who_scored(site, before)

    job = site.start(KAFKA_INPUT_TOPIC=f"{site.installation.input_topic}-other")
    line = site.wait_for_refusal(job, 3, "CheckpointError", "KAFKA_INPUT_TOPIC is")
    lean = _go_without_transactions(site)
    parted = _go_on_with_increments(site, [*parts[1], *parts[2]])
    site.check(Expected(_scorings(conf), increments=parted, without_history=lean))
    assert len({row["run_id"] for row in site.installation.rows("scores")}) == 1
    return line


def _check_who_scored(site: Site, before: set[Offset]) -> None:
    """What was stored before is the first's, all others are the other's, code and constants."""
    rows = site.installation.rows("scores")
    by = {(at in before, r["config_hash"], r["code_version"]) for at, r in _by_offset(rows)}
    (_, hash_1, code_1), (_, hash_2, code_2) = sorted(by, reverse=True)
    assert len({hash_1, hash_2}) == 2
    assert (code_2, code_1 == code_2) == (OTHER_VERSION, False)


def _by_offset(rows: list[dict[str, Any]]) -> list[tuple[Offset, dict[str, Any]]]:
    return list(zip(offsets_of(rows), rows, strict=True))


def _changed_conf(folder: Path) -> str:
    """Other points for volume, and one more stable token, which none of our wallets has."""
    conf = Path(shutil.copytree(PROJECT_ROOT / "conf", folder / "conf"))
    with (conf / "reference" / "tokens.yaml").open("a", encoding="utf-8") as file:
        file.write(ANOTHER_STABLE)
    constants = conf / "scoring" / "dex-v1.yaml"
    text = constants.read_text(encoding="utf-8")
    assert text.count(POINTS) == 1
    constants.write_text(text.replace(POINTS, OTHER_POINTS), encoding="utf-8")
    return str(conf)


def _scorings(*others: str) -> list[Scoring]:
    """`dex-v1` of `conf/` and of other folders."""
    return [configured_scoring(), *(configured_scoring(Path(conf)) for conf in others)]


def _go_without_transactions(site: Site) -> set[Offset]:
    """New scores go to another topic, and their transactions nowhere; their offsets."""
    topic = f"{site.installation.settings.kafka_success_topic}-other"
    before = site.installation.offsets()
    site.installation.publish(golden_records()[:5])
    site.drain(KAFKA_SUCCESS_TOPIC=topic, SCORESTREAM_TRANSACTIONS="off")
    assert len(site.installation.messages(topic)) == 5
    site.installation.other_success_topics.append(topic)
    return site.installation.offsets() - before


def _go_on_with_increments(site: Site, records: list[Record]) -> set[Offset]:
    """What full messages have brought counts, too; the offsets of the new ones."""
    before = site.installation.offsets()
    site.installation.publish(records)
    site.drain(WALLET_MESSAGES="incremental")
    rows = site.installation.rows("scores")
    check_last_scores([row for at, row in _by_offset(rows) if at not in before])
    return site.installation.offsets() - before
