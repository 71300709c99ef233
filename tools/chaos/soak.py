"""`make soak`: the stream at a steady load for an hour, and whether anything of it grows.

It needs a JDK: `jcmd` has the JVM collect its garbage, so that what is left can be told to 10 MB.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
import psutil
from deltalake import DeltaTable
from rich.console import Console
from rich.table import Table
from scipy.stats import linregress
from scipy.stats import t as student

from scorestream.infra.errors import InputError
from tools.chaos.job import Job
from tools.chaos.run import ending_when_asked, new_place
from tools.chaos.site import Site

WARM_UP_SECONDS: Final = 120.0
SAMPLE_SECONDS: Final = 5.0
COLLECT_SECONDS: Final = 60.0
TRIGGER: Final = "2 seconds"
# A JVM takes what it is given before it collects: little, so that it is at its limit early.
MEMORY: Final = "--driver-memory 640m"
# All of the JVM's compilers, as everywhere but in tests.
COMPILERS: Final = "--driver-java-options -XX:TieredStopAtLevel=4"
CONFIDENCE: Final = 0.95
# A line through two points has no error: nothing would ever grow.
MIN_BLOCKS: Final = 3
BLOCKS: Final = 12
# More than this is growth: in MB an hour, of other figures in parts of their median.
GROWTH_MB: Final = 10.0
GROWTH_SHARE: Final = 0.05
# The last line of a class histogram: objects that are alive, and their bytes.
_LIVE: Final = re.compile(r"^Total +\d+ +(\d+)", re.MULTILINE)


@dataclass(frozen=True)
class Sample:
    """What is seen of the stream at one moment.

    Attributes:
        minute: minutes since the end of the warm-up.
        batch_seconds: duration of the last batch.
        heap_mb: objects of the JVM that are alive, in MB.
        jvm_mb: resident memory of the JVM, in MB.
        python_mb: resident memory of all Python processes of the job, in MB.
        files: data files of all tables that are in use.
        lag: messages that are neither in `scores` nor in `rejects`.
    """

    minute: float
    batch_seconds: float
    heap_mb: float
    jvm_mb: float
    python_mb: float
    files: int
    lag: int


@dataclass(frozen=True)
class Trend:
    """How a figure changes over time.

    Attributes:
        median: of all samples.
        slope: change an hour.
        error: half the width of the slope's 95 % confidence interval.
    """

    median: float
    slope: float
    error: float

    def grows(self, limit: float) -> bool | None:
        """Whether it grows by more than a limit an hour; None: that cannot be told."""
        if self.slope - self.error > 0 and self.slope > limit:
            return True
        return False if self.slope + self.error < limit else None


def trend(minutes: Sequence[float], values: Sequence[float], block_minutes: float) -> Trend:
    """The trend of values at moments in minutes, by least squares over the means of blocks.

    Samples that follow each other are alike, and files come and go with each compaction: only the
    means of whole periods are observations of their own.

    Raises:
        InputError: fewer than three blocks.
    """
    block = np.floor(np.asarray(minutes) / block_minutes)
    means = [np.asarray(values)[block == number].mean() for number in np.unique(block)]
    if len(means) < MIN_BLOCKS:
        raise InputError(
            f"{len(means)} blocks of {block_minutes:g} minutes tell no trend: {MIN_BLOCKS} at "
            "least; make --minutes longer or --compact-minutes shorter"
        )
    fitted = linregress(np.unique(block) * block_minutes / 60, means)
    width = student.ppf((1 + CONFIDENCE) / 2, len(means) - 2)
    return Trend(statistics.median(values), float(fitted.slope), float(width * fitted.stderr))


def main() -> int:
    arguments = parse_arguments()
    with ending_when_asked(), new_place() as place, closing(place.proxy()) as proxy:
        place.broker.start()
        site = Site(place.folder, place.broker, proxy, random.Random(1))
        try:
            samples = _soak(site, arguments)
        finally:
            site.close()
    if arguments.output:
        lines = [json.dumps(asdict(sample)) for sample in samples]
        arguments.output.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return _report(samples, arguments.compact_minutes)


def parse_arguments(command_line: Sequence[str] | None = None) -> argparse.Namespace:
    """The arguments; ends with 2 where they give too few blocks for a trend."""
    parser = argparse.ArgumentParser(prog="python -m tools.chaos.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--rate", type=int, default=1000, help="wallets a minute")
    parser.add_argument(
        "--compact-minutes",
        type=float,
        help=f"from one to the next, also the blocks of the trend (default: minutes/{BLOCKS})",
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help="samples as JSON lines")
    arguments = parser.parse_args(command_line)
    if arguments.compact_minutes is None:
        arguments.compact_minutes = arguments.minutes / BLOCKS
    if arguments.minutes < MIN_BLOCKS * arguments.compact_minutes:
        parser.error(f"--minutes must be {MIN_BLOCKS} times --compact-minutes at least")
    return arguments


def _soak(site: Site, arguments: argparse.Namespace) -> list[Sample]:
    samples: list[Sample] = []
    with site.load(arguments.rate / 60):
        job = site.start("--trigger", TRIGGER, spark=f"{MEMORY} {COMPILERS}")
        job.wait_for_batch()
        job.linger(WARM_UP_SECONDS)
        began = time.monotonic()
        upkeep = _Compactions(site, arguments.compact_minutes * 60)
        heap = _Heap(job)
        while (minute := (time.monotonic() - began) / 60) < arguments.minutes:
            upkeep.look()
            samples.append(_sample(site, job, heap, minute))
            print(json.dumps(asdict(samples[-1])), flush=True)
            job.linger(SAMPLE_SECONDS)
    upkeep.finish()
    site.catch_up(job)
    site.finish(job)
    site.check()
    return samples


class _Compactions:
    """Starts `compact_tables` now and then; each run must succeed."""

    def __init__(self, site: Site, pause_seconds: float) -> None:
        self._site = site
        self._pause = pause_seconds
        self._due = time.monotonic()
        self._running: Job | None = None

    def look(self) -> None:
        """Start the next run if it is due."""
        if self._running is not None and not self._running.is_running:
            self.finish()
        if self._running is None and time.monotonic() >= self._due:
            self._running = self._site.start("compact_tables")
            self._due += self._pause

    def finish(self) -> None:
        """Wait until the last run has ended."""
        if self._running is not None:
            assert self._running.wait() == 0, self._running.output[-4000:]
            self._running = None


class _Heap:
    """What the JVM of a job holds, looked at once a minute: to collect its garbage stops it."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._due = time.monotonic()
        self._megabytes = 0.0

    def megabytes(self) -> float:
        """What it held when it was looked at last, in MB."""
        if time.monotonic() >= self._due:
            self._due += COLLECT_SECONDS
            self._megabytes = int(_LIVE.findall(self._histogram())[0]) / 1e6
        return self._megabytes

    def _histogram(self) -> str:
        command = ["jcmd", str(self._job.jvm().pid), "GC.class_histogram"]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def _sample(site: Site, job: Job, heap: _Heap, minute: float) -> Sample:
    tables = [path for path in site.warehouse.iterdir() if DeltaTable.is_deltatable(str(path))]
    files = sum(len(DeltaTable(str(path)).file_uris()) for path in tables)
    jvm, python = _memory(job)
    last = job.events("batch")[-1]
    lag = site.published() - site.count_rows()
    return Sample(minute, last["seconds"], heap.megabytes(), jvm, python, files, lag)


def _memory(job: Job) -> tuple[float, float]:
    jvm = job.jvm()
    python = 0.0
    for each in [job.driver(), *job.workers()]:
        try:
            python += each.memory_info().rss / 1e6
        except psutil.NoSuchProcess:
            continue
    return jvm.memory_info().rss / 1e6, python


def _report(samples: Sequence[Sample], block_minutes: float) -> int:
    names = ("batch_seconds", "heap_mb", "jvm_mb", "python_mb", "files", "lag")
    minutes = [sample.minute for sample in samples]
    shown = Table("figure", "median", "slope an hour", "95 % interval", "grows")
    growing = False
    for name in names:
        each = trend(minutes, [getattr(sample, name) for sample in samples], block_minutes)
        interval = f"{each.slope - each.error:+.2f} to {each.slope + each.error:+.2f}"
        grows = each.grows(GROWTH_MB if name.endswith("_mb") else GROWTH_SHARE * each.median)
        told = {True: "YES", False: "no", None: "cannot be told"}[grows]
        shown.add_row(name, f"{each.median:.2f}", f"{each.slope:+.2f}", interval, told)
        growing |= grows is True
    Console(width=None if sys.stdout.isatty() else 120).print(shown)
    return int(growing)


if __name__ == "__main__":
    sys.exit(main())
