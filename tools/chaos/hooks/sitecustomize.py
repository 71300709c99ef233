"""Faults inside the job's Python processes; the interpreter imports this at its start.

`CHAOS_INJECT` is a JSON list of faults, each with

- `point`: the function, `module:name` or `module:Class.method`
- `when`: `before` (default) or `after` its call
- `call`: the how manieth call of a process (default 1); 0 for every one
- `action`: `kill` the process group of the driver; `die`: kill this process alone; `stop` it
  (SIGSTOP); `hang` for ever; `exhaust`: MemoryError; `raise:TEXT`: an error with that text;
  `return:TEXT`: that text is what the call gives; `clock:SECONDS`: from now on `time.time` of all
  these processes, over all starts, is so far ahead of the true time
- `error`: of which class, `module:name` (default `builtins:OSError`)
- `times`: how often in all, over all processes and starts (default 1); 0 for always
- `id`: to tell a fault from one that happened already
- `holding`: a text; only calls count with a list of bytes as first argument, one of which holds it

Where it happened, a file `fault-…` of `CHAOS_FOLDER` has the number of the process.
"""

from __future__ import annotations

import functools
import importlib
import importlib.abc
import importlib.machinery
import json
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any


class Fault:
    """One fault; how often it happened is counted in files, which outlive the processes."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.module, _, self.name = options["point"].partition(":")
        self.before = options.get("when", "before") == "before"
        self.call = options.get("call", 1)
        self.action = options["action"]
        self.error = options.get("error", "builtins:OSError")
        self.times = options.get("times", 1)
        self._holding = options.get("holding", "").encode()
        self._calls = 0
        name = "fault-" + re.sub(r"\W+", "-", json.dumps(options))
        folder = Path(os.environ["CHAOS_FOLDER"])
        self._marks = [folder / f"{name}{i}" for i in range(self.times)]

    def wrap(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            if not self._concerns(args):
                return function(*args, **kwargs)
            self._calls += 1
            due = self.call in {0, self._calls}
            if due and self.action.startswith("return:") and self._take():
                return self.action.partition(":")[2]
            if due and self.before and self._take():
                self._act()
            result = function(*args, **kwargs)
            if due and not self.before and self._take():
                self._act()
            return result

        return wrapped

    def _concerns(self, args: Sequence[Any]) -> bool:
        return not self._holding or any(self._holding in (value or b"") for value in args[0])

    def _take(self) -> bool:
        """Whether it may happen once more; only one process gets each mark."""
        if self.times == 0:
            return True
        for mark in self._marks:
            try:
                descriptor = os.open(mark, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
            except FileExistsError:
                continue
            os.write(descriptor, str(os.getpid()).encode())
            os.close(descriptor)
            return True
        return False

    def _act(self) -> None:
        if self.action == "kill":
            _kill_driver()
        elif self.action == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        elif self.action == "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        elif self.action == "hang":
            threading.Event().wait()
        elif self.action == "exhaust":
            raise MemoryError
        elif self.action.startswith("clock:"):
            _step_clock(self.action.partition(":")[2])
        else:
            module, _, name = self.error.partition(":")
            raise getattr(importlib.import_module(module), name)(self.action.partition(":")[2])


def _step_clock(seconds: str) -> None:
    file = _clock_file()
    new = file.with_suffix(f".{os.getpid()}")
    new.write_text(seconds, encoding="ascii")
    new.replace(file)


def _clock_file() -> Path:
    return Path(os.environ["CHAOS_FOLDER"]) / "clock"


def _patch_clock() -> None:
    """Have `time.time` and `time.time_ns` look how far ahead they are to be."""
    true, file = time.time_ns, _clock_file()

    def time_ns() -> int:
        try:
            return true() + int(file.read_text(encoding="ascii")) * 10**9
        except FileNotFoundError:
            return true()

    time.time_ns = time_ns
    time.time = lambda: time_ns() / 1e9


def _kill_driver() -> None:
    """Kill the process group of spark-submit.sh: wrapper, JVM and the driver's Python."""
    pid = os.getpid()
    while pid > 1:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
        parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        if b"SparkSubmit" in command:
            os.killpg(os.getpgid(pid), signal.SIGKILL)
        pid = parent
    os.kill(os.getpid(), signal.SIGKILL)


class _Finder(importlib.abc.MetaPathFinder):
    """Wraps the functions of a module as soon as it is loaded, before anybody imports from it."""

    def __init__(self, faults: list[Fault]) -> None:
        self._faults = faults

    def find_spec(
        self, name: str, path: Sequence[str] | None, _target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        ours = [fault for fault in self._faults if fault.module == name]
        if not ours:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def exec_module(module: ModuleType) -> None:
                execute(module)
                for fault in ours:
                    _patch(module, fault)

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def _patch(module: ModuleType, fault: Fault) -> None:
    owner: Any = module
    *outer, name = fault.name.split(".")
    for each in outer:
        owner = getattr(owner, each)
    setattr(owner, name, fault.wrap(getattr(owner, name)))


if "CHAOS_INJECT" in os.environ:
    faults = [Fault(each) for each in json.loads(os.environ["CHAOS_INJECT"])]
    sys.meta_path.insert(0, _Finder(faults))
    if any(fault.action.startswith("clock:") for fault in faults):
        _patch_clock()
