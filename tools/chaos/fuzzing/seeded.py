"""The engine `random`: mutants of the corpus, drawn by a seed; those of a new outcome join it.

    python -m tools.chaos.fuzzing.seeded PLAN

is started by `python -m tools.chaos.fuzzing`; PLAN is JSON.
"""

from __future__ import annotations

import signal
import sys
import time
from random import Random
from typing import Final

import msgspec

from tools.chaos.fuzzing.execution import (
    MAX_EXECUTION_SECONDS,
    Execution,
    Plan,
    bound_memory,
    bound_time,
)
from tools.chaos.fuzzing.mutation import mutate

MAX_MEGABYTES: Final = 4096


def main() -> None:
    """Execute until the time or the number of runs is over."""
    plan = msgspec.json.decode(sys.argv[1], type=Plan)
    bound_memory(MAX_MEGABYTES)
    bound_time()
    execution = Execution(plan)
    pool = sorted(execution.corpus)
    random = Random(plan.seed)
    end, runs = time.monotonic() + plan.seconds, 0
    while time.monotonic() < end and (runs < plan.runs or not plan.runs):
        value = pool[runs] if runs < len(pool) else mutate(random.choice(pool), random, pool)
        signal.alarm(MAX_EXECUTION_SECONDS)
        if execution.run(value) and runs >= len(execution.corpus):
            pool.append(value)
        signal.alarm(0)
        runs += 1
    execution.tell()


if __name__ == "__main__":
    main()
