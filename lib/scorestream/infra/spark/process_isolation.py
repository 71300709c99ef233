"""Work that may crash or hang, done in an isolated process.

The first attempt of a task works at full speed. Where it crashed, the retry isolates the work: what
the isolated process does not survive is split into ever smaller parts, until the one item is found
that is to blame. It is given up, and all others are done as always.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from enum import Enum, auto
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import ForkingPickler
from typing import Any, Final, Self, TypeVar, cast

from scorestream.infra.errors import ScorestreamError
from scorestream.infra.spark.heartbeat import report_progress

Item = TypeVar("Item")
Answer = TypeVar("Answer")

# Of a piece of work in an isolated process, in seconds.
DEFAULT_TIMEOUT: Final = 60.0
# Until a new process has imported all that it needs, on a machine that is busy.
START_SECONDS: Final = 60.0
END_SECONDS: Final = 10.0
OUT_OF_MEMORY: Final = "out of memory"
_OUT_OF_MEMORY_CODE: Final = 77
_PR_SET_PDEATHSIG: Final = 1
_SHOWN_CHARACTERS: Final = 300
_spawn = get_context("spawn")


class WorkFailed(Exception):
    """Isolated work failed; the text says why."""


class CrashOrTimeout(WorkFailed):
    """Isolated work ended its process, or took longer than its timeout."""


def is_retry() -> bool:
    """Whether this runs in a task of Spark that failed before."""
    # A process that has not loaded PySpark runs no task.
    pyspark = sys.modules.get("pyspark")
    context = pyspark.TaskContext.get() if pyspark else None
    return context is not None and context.attemptNumber() > 0


class Isolation(Enum):
    """When a task does its work in an isolated process, which may crash or hang without harm."""

    NEVER = auto()
    ON_RETRY = auto()
    ALWAYS = auto()

    @property
    def is_due(self) -> bool:
        """Whether the task that this runs in isolates its work."""
        return self is Isolation.ALWAYS or (self is Isolation.ON_RETRY and is_retry())


def isolate_failures(
    process: IsolatedProcess,
    work: Callable[[Item], Callable[[], Answer]],
    item: Item,
    split: Callable[[Item], Sequence[Item]],
    *,
    give_up: Callable[[Item, str], Answer],
) -> Iterator[tuple[Item, Answer]]:
    """Do work for an item as a whole or, where that fails, for its parts.

    What cannot be split is tried once more, alone in a new process, before it is given up.

    Args:
        process: does the work.
        work: the work for an item, prepared in this process; it and its answer are pickled.
        item: all there is to do.
        split: the parts of an item; a single part is not split further.
        give_up: the answer for an item that cannot be split and fails, and why it fails.

    Yields:
        Each part that was done as a whole, and the answer.

    Raises:
        MemoryError: this process cannot prepare the work for an item that cannot be split.
        ScorestreamError: no isolated process can be started.
    """
    report_progress()
    try:
        answer = process.run(work(item))
    except (WorkFailed, MemoryError):
        parts = split(item)
    else:
        yield item, answer
        return
    if len(parts) == 1:
        yield item, _run_alone(process, work, item, give_up)
        return
    for part in parts:
        yield from isolate_failures(process, work, part, split, give_up=give_up)


def _run_alone(
    process: IsolatedProcess,
    work: Callable[[Item], Callable[[], Answer]],
    item: Item,
    give_up: Callable[[Item, str], Answer],
) -> Answer:
    """Do work for an item in a new process, which has passed its trial, or give the item up."""
    process.stop()
    report_progress()
    call = work(item)
    try:
        return process.run(call)
    except WorkFailed as error:
        return give_up(item, str(error))


class IsolatedProcess:
    """A process that does one piece of work after the other, and is replaced when it dies.

    It has the limits of this process, for instance of memory, and never outlives it. On Linux it
    ends with the thread that gave it the first work.
    """

    def __init__(self, timeout: float, trial: Callable[[], object]) -> None:
        """No process is started yet.

        Args:
            timeout: seconds that a piece of work may take.
            trial: work that has to succeed in each new process.
        """
        self._timeout = timeout
        self._trial = trial
        self._process: _Process | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop()

    def run(self, call: Callable[[], Answer]) -> Answer:
        """Have the work done.

        Raises:
            CrashOrTimeout: it took too long, or ended its process.
            WorkFailed: it raised, or it or its answer is too large to be handed over.
            ScorestreamError: no process for it can be started.
        """
        if self._process is None:
            self._process = self._started()
        try:
            answer, problem = self._process.ask(call, self._timeout)
        except BaseException:
            # Nobody knows what is left in its pipe.
            self.stop()
            raise
        if problem is not None:
            raise WorkFailed(problem)
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
        except WorkFailed as error:
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

    def ask(self, call: Callable[[], Answer], timeout: float) -> tuple[Answer, str | None]:
        """The answer, or a problem.

        Raises:
            WorkFailed: there is no answer.
        """
        try:
            self._pipe.send(call)
            if self._pipe.poll(timeout):
                answered: tuple[Answer, str | None] = self._pipe.recv()
                return answered
        except (EOFError, OSError):
            raise CrashOrTimeout(self._end()) from None
        except MemoryError:
            raise WorkFailed(OUT_OF_MEMORY) from None
        raise CrashOrTimeout(f"it took longer than {timeout:g} s")

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
    """Do the work that comes, in the isolated process."""
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
