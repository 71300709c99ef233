"""Several scenarios at a time: processes that each have a broker of their own."""

from __future__ import annotations

import signal
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from typing import cast

from tools.chaos.run import (
    FileKind,
    Outcome,
    ending_when_asked,
    new_place,
    run,
)
from tools.chaos.scenario import Scenario

_spawn = get_context("spawn")
END_SECONDS = 60.0


def run_all(chosen: Iterable[Scenario], seed: int, jobs: int) -> Iterator[Outcome]:
    """Run scenarios, and yield what came of each as soon as it is known.

    Args:
        chosen: which, begun in this order.
        seed: of every choice that chance makes.
        jobs: how many at a time.
    """
    left = deque(chosen)
    busy: dict[Connection, Scenario] = {}
    with ExitStack() as stack:
        idle = [stack.enter_context(_worker(seed)) for _ in range(min(jobs, len(left)))]
        while busy or (idle and left):
            while idle and left:
                worker, scenario = idle.pop(), left.popleft()
                worker.send(scenario)
                busy[worker] = scenario
            for worker in cast("list[Connection]", wait(list(busy))):
                scenario = busy.pop(worker)
                try:
                    yield worker.recv()
                    idle.append(worker)
                except EOFError:
                    yield _fail_outcome(scenario, "the process that ran it ended")
    for scenario in left:
        yield _fail_outcome(scenario, "no process is left to run it")


def _fail_outcome(scenario: Scenario, why: str) -> Outcome:
    return Outcome(scenario, "", why, 0.0, None, None)


@contextmanager
def _worker(seed: int) -> Iterator[Connection]:
    """A process that runs the scenarios it is sent; it ends what it has started."""
    ours, theirs = _spawn.Pipe()
    with new_place() as place:
        process = _spawn.Process(target=_work, args=(theirs, place, seed))
        process.start()
        theirs.close()
        try:
            yield ours
        finally:
            ours.close()
            process.terminate()
            process.join(END_SECONDS)
            process.kill()


def _work(parent: Connection, place: FileKind, seed: int) -> None:
    # Ctrl-C reaches the parent, too, which asks this process to end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with ending_when_asked(), closing(place.proxy()) as proxy:
        while True:
            try:
                scenario: Scenario = parent.recv()
            except EOFError:
                return
            parent.send(run(scenario, place, proxy, seed))
