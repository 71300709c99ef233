"""`make soak`: the stream at a steady load for an hour, and whether anything of it grows."""

from __future__ import annotations

import argparse
import json
import math
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
import psutil
from deltalake import DeltaTable
from rich.console import Console
from rich.table import Table

from chaos.job import Job
from chaos.run import broker_and_proxy
from chaos.site import Site

WARM_UP_SECONDS: Final = 120.0
SAMPLE_SECONDS: Final = 5.0
TRIGGER: Final = "2 seconds"
# Samples of a minute are one observation: neighbours are alike, and would seem to prove more.
BLOCK_SECONDS: Final = 60.0
NORMAL_95: Final = 1.96


@dataclass(frozen=True)
class Sample:
    """What is seen of the stream at one moment.

    Attributes:
        minute: minutes since the end of the warm-up.
        batch_seconds: duration of the last batch.
        jvm_mb: resident memory of the JVM, in MB.
        python_mb: resident memory of all Python processes of the job, in MB.
        files: data files of all tables.
        lag: messages that are neither in `scores` nor in `rejects`.
    """

    minute: float
    batch_seconds: float
    jvm_mb: float
    python_mb: float
    files: int
    lag: int


@dataclass(frozen=True)
class Trend:
    """How a figure changes over time, by least squares over block means.

    Attributes:
        median: of all samples.
        slope: change an hour.
        error: half the width of the slope's 95 % confidence interval.
    """

    median: float
    slope: float
    error: float

    @property
    def is_flat(self) -> bool:
        """Whether the interval holds zero, or all of it is below a twentieth of the median."""
        most = abs(self.slope) + self.error
        return abs(self.slope) <= self.error or most < max(0.05 * abs(self.median), 1e-9)


def trend(minutes: Sequence[float], values: Sequence[float]) -> Trend:
    """The trend of values at moments, in minutes; at least three blocks of a minute."""
    block = np.floor(np.asarray(minutes) * 60 / BLOCK_SECONDS)
    numbers = np.unique(block)
    x = np.array([np.mean(np.asarray(minutes)[block == n]) for n in numbers]) / 60
    y = np.array([np.mean(np.asarray(values)[block == n]) for n in numbers])
    centred = x - x.mean()
    slope = float(centred @ y / (centred @ centred))
    residuals = y - y.mean() - slope * centred
    spread = math.sqrt(float(residuals @ residuals) / (len(x) - 2) / float(centred @ centred))
    return Trend(statistics.median(values), slope, NORMAL_95 * spread)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m chaos.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--rate", type=int, default=1000, help="wallets a minute")
    parser.add_argument("--compact-minutes", type=float, default=10.0, help="pause between two")
    parser.add_argument("--output", type=Path, metavar="FILE", help="samples as JSON lines")
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="scorestream-soak-") as folder,
        broker_and_proxy(Path(folder)) as (broker, proxy),
    ):
        site = Site(Path(folder), broker, proxy, random.Random(1))
        try:
            samples = _soak(site, arguments)
        finally:
            site.close()
    if arguments.output:
        lines = [json.dumps(asdict(sample)) for sample in samples]
        arguments.output.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return _report(samples)


def _soak(site: Site, arguments: argparse.Namespace) -> list[Sample]:
    samples: list[Sample] = []
    with site.load(arguments.rate / 60):
        job = site.start("--trigger", TRIGGER)
        job.wait_for_batch()
        job.linger(WARM_UP_SECONDS)
        began = time.monotonic()
        compaction, next_compaction = None, began
        while time.monotonic() - began < arguments.minutes * 60:
            if time.monotonic() >= next_compaction and (
                compaction is None or not compaction.is_running
            ):
                compaction = site.start("compact_tables", "--vacuum-hours", "1")
                next_compaction += arguments.compact_minutes * 60
            samples.append(_sample(site, job, (time.monotonic() - began) / 60))
            print(json.dumps(asdict(samples[-1])), flush=True)
            job.linger(SAMPLE_SECONDS)
    site.catch_up(job)
    site.finish(job)
    site.check()
    return samples


def _sample(site: Site, job: Job, minute: float) -> Sample:
    tables = [path for path in site.warehouse.iterdir() if DeltaTable.is_deltatable(str(path))]
    files = sum(len(DeltaTable(str(path)).file_uris()) for path in tables)
    jvm, python = _memory(job)
    last = job.events("batch")[-1]
    return Sample(minute, last["seconds"], jvm, python, files, site.published() - site.stored())


def _memory(job: Job) -> tuple[float, float]:
    jvm = job.jvm()
    python = 0.0
    for each in [job.driver(), *job.workers()]:
        try:
            python += each.memory_info().rss / 1e6
        except psutil.NoSuchProcess:
            continue
    return jvm.memory_info().rss / 1e6, python


def _report(samples: Sequence[Sample]) -> int:
    names = ("batch_seconds", "jvm_mb", "python_mb", "files", "lag")
    minutes = [sample.minute for sample in samples]
    trends = {name: trend(minutes, [getattr(s, name) for s in samples]) for name in names}
    shown = Table("figure", "median", "slope an hour", "95 % interval", "flat")
    for name, each in trends.items():
        interval = f"{each.slope - each.error:+.2f} to {each.slope + each.error:+.2f}"
        flat = "yes" if each.is_flat else "NO"
        shown.add_row(name, f"{each.median:.2f}", f"{each.slope:+.2f}", interval, flat)
    Console(width=None if sys.stdout.isatty() else 120).print(shown)
    return 0 if all(each.is_flat for each in trends.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
