"""Work that may end the process that does it, done in a process of its own.

The first attempt of a task works at full speed. Where it died, a later one works with care: what
its process does not survive is cut into ever smaller parts, until the one item is found that is to
blame. It is given up, and all others are done as always.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import ForkingPickler
from typing import Any, Final, Self, TypeVar, cast

from scorestream.infra.errors import ScorestreamError
from scorestream.infra.spark.heartbeat import get_on

Item = TypeVar("Item")
Answer = TypeVar("Answer")

# Until a new process has imported all that it needs, on a machine that is busy.
START_SECONDS: Final = 60.0
END_SECONDS: Final = 10.0
OUT_OF_MEMORY: Final = "out of memory"
_OUT_OF_MEMORY_CODE: Final = 77
_PR_SET_PDEATHSIG: Final = 1
_SHOWN_CHARACTERS: Final = 300
_spawn = get_context("spawn")


class Undoable(Exception):
    """Work that could not be done; the text says why."""


class Deadly(Undoable):
    """Work that ended its process, or took too long."""


def is_retry() -> bool:
    """Whether this runs in a task of Spark that failed before."""
    # A process that has not loaded PySpark runs no task.
    pyspark = sys.modules.get("pyspark")
    context = pyspark.TaskContext.get() if pyspark else None
    return context is not None and context.attemptNumber() > 0


@dataclass(frozen=True)
class Care:
    """How a task works with care.

    Attributes:
        seconds: the most that a piece of work may take then.
        at_once: whether its first attempt does so, too.
    """

    seconds: float
    at_once: bool = False

    @property
    def is_due(self) -> bool:
        """Whether the task that this runs in works with care."""
        return self.at_once or is_retry()


def care_is_due(care: Care | None) -> bool:
    """Whether a task works with care; without a word on it, where it failed before."""
    return is_retry() if care is None else care.is_due


def carefully(
    helper: Helper,
    call: Callable[[Item], Callable[[], Answer]],
    item: Item,
    parts: Callable[[Item], Sequence[Item]],
    give_up: Callable[[Item, str], Answer],
) -> Iterator[tuple[Item, Answer]]:
    """Do work for an item as a whole, or where that does not succeed, for its parts.

    What cannot be cut is tried once more, alone in a new process, before it is given up.

    Args:
        helper: does the work.
        call: the work for an item, prepared in this process; it and its answer are pickled.
        item: all there is to do.
        parts: cuts an item; what it gives back in one part is not cut further.
        give_up: the answer for an item that cannot be cut and cannot be done, and why not.

    Yields:
        Each part that was done as a whole, and the answer.

    Raises:
        MemoryError: this process cannot prepare the work for an item that cannot be cut.
        ScorestreamError: no process for the work can be started.
    """
    get_on()
    try:
        answer = helper.run(call(item))
    except (Undoable, MemoryError):
        smaller = parts(item)
    else:
        yield item, answer
        return
    if len(smaller) == 1:
        yield item, _alone(helper, call, item, give_up)
        return
    for part in smaller:
        yield from carefully(helper, call, part, parts, give_up)


def _alone(
    helper: Helper,
    call: Callable[[Item], Callable[[], Answer]],
    item: Item,
    give_up: Callable[[Item, str], Answer],
) -> Answer:
    """Do work for an item in a new process, which the trial has shown to be well, or give it up."""
    helper.stop()
    get_on()
    work = call(item)
    try:
        return helper.run(work)
    except Undoable as error:
        return give_up(item, str(error))


class Helper:
    """A process that does one piece of work after the other, and is replaced when it dies.

    It has the limits of this process, for instance of memory, and never outlives it. On Linux it
    ends with the thread that gave it the first work.
    """

    def __init__(self, seconds: float, trial: Callable[[], object]) -> None:
        """Nothing is started yet.

        Args:
            seconds: the most that a piece of work may take.
            trial: work that has to succeed in each new process.
        """
        self._seconds = seconds
        self._trial = trial
        self._process: _Process | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop()

    def run(self, call: Callable[[], Answer]) -> Answer:
        """Have the work done.

        Raises:
            Deadly: it took too long, or ended its process.
            Undoable: it raised, or it or its answer is too large to be handed over.
            ScorestreamError: no process for it can be started.
        """
        if self._process is None:
            self._process = self._started()
        try:
            answer, problem = self._process.ask(call, self._seconds)
        except BaseException:
            # Nobody knows what is left in its pipe.
            self.stop()
            raise
        if problem is not None:
            raise Undoable(problem)
        return answer

    def stop(self) -> None:
        """End the process, if there is one."""
        if self._process is not None:
            self._process.kill()
            self._process = None

    def _started(self) -> _Process:
        try:
            process = _Process()
        except MemoryError:
            raise _unwell(OUT_OF_MEMORY) from None
        try:
            _, problem = process.ask(self._trial, START_SECONDS)
        except Undoable as error:
            problem = str(error)
        if problem is None:
            return process
        process.kill()
        raise _unwell(problem)


def _unwell(problem: str) -> ScorestreamError:
    return ScorestreamError(
        f"a process of its own, for work that may end it, does not start: {problem}; "
        "give the workers more memory"
    )


class _Process:
    def __init__(self) -> None:
        self._pipe, other = _spawn.Pipe()
        self._process = _spawn.Process(target=_serve, args=(other,), daemon=True)
        self._process.start()
        other.close()

    def ask(self, call: Callable[[], Answer], seconds: float) -> tuple[Answer, str | None]:
        """The answer, or a problem.

        Raises:
            Undoable: there is no answer.
        """
        try:
            self._pipe.send(call)
            if self._pipe.poll(seconds):
                answered: tuple[Answer, str | None] = self._pipe.recv()
                return answered
        except (EOFError, OSError):
            raise Deadly(self._end()) from None
        except MemoryError:
            raise Undoable(OUT_OF_MEMORY) from None
        raise Deadly(f"it took longer than {seconds:g} s")

    def kill(self) -> None:
        self._process.kill()
        self._process.join()
        self._pipe.close()

    def _end(self) -> str:
        """How it ended."""
        self._process.join(END_SECONDS)
        code = self._process.exitcode
        if code == _OUT_OF_MEMORY_CODE:
            return OUT_OF_MEMORY
        how = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
        return f"it ended the process: {how}"


def _serve(pipe: Connection[Any, Any]) -> None:
    """Do what comes, in the process of a helper."""
    _end_with_parent()
    try:
        while True:
            pipe.send_bytes(_answer(pipe.recv()))
    except EOFError:
        return
    except MemoryError:
        os._exit(_OUT_OF_MEMORY_CODE)


def _answer(call: Callable[[], object]) -> memoryview:
    """The pickled answer and no problem, or a problem."""
    try:
        return ForkingPickler.dumps((call(), None))
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001  whatever it is, the others are done
        return ForkingPickler.dumps((None, f"{type(error).__name__}: {error}"[:_SHOWN_CHARACTERS]))


def _end_with_parent() -> None:
    """Have this process killed when its parent ends, or on other systems, end itself."""
    parent = cast(BaseProcess, parent_process())
    if sys.platform == "linux":
        # A thread would not get to run while a library's code keeps Python's lock.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent.pid:
            os._exit(1)
    else:
        threading.Thread(target=_wait_and_end, args=(parent.join,), daemon=True).start()


def _wait_and_end(wait: Callable[[], None]) -> None:
    wait()
    os._exit(1)
