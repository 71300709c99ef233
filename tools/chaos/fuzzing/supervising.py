"""Watches a fuzzing process from outside, so that nothing it does goes unnoticed."""

from __future__ import annotations

import re
import resource
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from tools.chaos.fuzzing.corpus import read_corpus
from tools.chaos.fuzzing.execution import Plan, Tally, tally_file

ENGINES: Final = {"coverage": "tools.chaos.fuzzing.guided", "random": "tools.chaos.fuzzing.seeded"}
PROGRESS_SECONDS: Final = 10
# For its start and its last execution; what hangs within C heeds neither clock nor alarm.
MARGIN_SECONDS: Final = 120
_COVERAGE = re.compile(r"cov: (\d+) .*corp: (\d+)/")


def fuzz(plan: Plan) -> int:
    """Fuzz in a process of its own, telling how it goes; 1 if something broke, else 0.

    Raises:
        InputError: the corpus is empty.
    """
    messages = read_corpus(Path(plan.corpus))
    print(f"engine {plan.engine}, seed {plan.seed}, {len(messages)} messages to start from")
    with tempfile.TemporaryDirectory(prefix="scorestream-fuzzing-") as work:
        plan.work = work
        started = time.monotonic()
        code = _watch(plan, started)
        _print_summary(plan, time.monotonic() - started)
        return _exit_code(plan, code)


def _watch(plan: Plan, started: float) -> int | None:
    """Start the engine and wait for its end; its exit code, or None: it was overdue, and killed."""
    command = [sys.executable, "-m", ENGINES[plan.engine], msgspec.json.encode(plan).decode()]
    with _log(plan).open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            while time.monotonic() < started + plan.seconds + MARGIN_SECONDS:
                with suppress(subprocess.TimeoutExpired):
                    return process.wait(PROGRESS_SECONDS)
                print(_progress(plan, time.monotonic() - started), flush=True)
            return None
        finally:
            process.kill()


def _log(plan: Plan) -> Path:
    return Path(plan.work) / "log"


def _tally(plan: Plan) -> Tally:
    try:
        return msgspec.json.decode(tally_file(plan.work).read_bytes(), type=Tally)
    except FileNotFoundError:
        return Tally()


def _progress(plan: Plan, seconds: float) -> str:
    tally = _tally(plan)
    parts = [
        f"{seconds:5.0f} s",
        f"{tally.executions} runs ({tally.executions / seconds:.0f}/s)",
        f"{tally.messages} messages ({tally.messages / seconds:.0f}/s)",
        f"{tally.outcomes.get('scored', 0)} scored",
        f"{tally.kinds} kinds of outcomes",
    ]
    matches = _COVERAGE.findall(_log(plan).read_text(errors="replace"))
    if matches:
        parts.append(f"coverage {matches[-1][0]}, corpus {matches[-1][1]}")
    return ", ".join(parts)


def _print_summary(plan: Plan, seconds: float) -> None:
    print(_progress(plan, seconds))
    for code, count in sorted(_tally(plan).outcomes.items(), key=lambda item: -item[1]):
        print(f"  {code:<24}{count:>10}")
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"  peak memory {peak:.0f} MB")


def _exit_code(plan: Plan, code: int | None) -> int:
    finding = _tally(plan).finding
    tail = _log(plan).read_text(errors="replace")[-3000:]
    if code is None:
        late = f"{MARGIN_SECONDS} s after it should have ended"
        print(f"BROKEN: the engine hangs, and was killed {late}\n{tail}")
    elif finding:
        print(f"BROKEN: {finding}")
    elif code != 0:
        print(f"BROKEN: the engine ended with {code}; messages are in {plan.findings}\n{tail}")
    else:
        print("nothing broke")
    return int(code != 0)
