"""Leases: at any time one process, on whatever machine, has the right to do a thing.

A lease is two things below the warehouse:

- an **epoch**: a number that grows with every holder. A holder takes it by a commit to a Delta
  table without rows, as the version of an application transaction: of two concurrent commits only
  one succeeds, on every store that Delta tables can be on. Safety rests on the epoch alone.
- a **heartbeat**: a file that the holder writes again and again. Others watch whether it changes,
  by their own monotonic clock; no clocks are compared. It shows who holds the lease, and lets
  another process take over soon after the holder died. A holder that was stopped, or cut off from
  the store, is taken for dead, and may wake up later.

So the tables must refuse late commits of an old holder: each commit carries `HeldLease.fence`, and
fails if the table has a greater one (`Warehouse.append` does both for `Warehouse.fence`; of two
concurrent commits with the same application, delta-rs refuses one). A new holder commits its fence
to the tables before it reads them.

    with hold_lease(warehouse.root, "upkeep", "wait until it is done") as lease:
        log.create_write_transaction(..., commit_properties=CommitProperties(
            app_transactions=[Transaction(*lease.fence)]))
        lease.check()       # between steps: raises if another process has taken over
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import platform
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TextIO
from urllib.parse import quote

import pyarrow as pa
import structlog
from deltalake import CommitProperties, DeltaTable, Transaction
from deltalake.exceptions import CommitFailedError, TableNotFoundError
from deltalake.exceptions import DeltaError as DeltaRsError

from scorestream.infra.error_text import error_summary
from scorestream.infra.errors import DeltaError, InUseError
from scorestream.infra.storage.filesystem import delete_files, read_text, write_text

log = structlog.get_logger()

BEAT_SECONDS: Final = 1.0
# A heartbeat that has not changed for so long is that of a dead holder.
SILENT_SECONDS: Final = 10.0
LOOK_SECONDS: Final = 0.25
_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")
_NO_ROWS: Final = pa.schema([("nothing", pa.int64())])
_ATTEMPTS: Final = 20


@dataclass
class HeldLease:
    """A lease that this process has.

    Attributes:
        name: of what.
        epoch: greater than that of all holders before.
        advice: what the user can do who needs it, too.
    """

    name: str
    epoch: int
    advice: str
    _lost: threading.Event = field(default_factory=threading.Event)

    @property
    def fence(self) -> tuple[str, int]:
        """The application transaction by which a table refuses all holders before."""
        return fence_application(self.name), self.epoch

    @property
    def is_lost(self) -> bool:
        """Whether another holder was seen; that none was proves nothing."""
        return self._lost.is_set()

    def check(self) -> None:
        """Refuse to go on where another holder was seen.

        Raises:
            InUseError: it was.
        """
        if self.is_lost:
            raise takeover_error(self.name)

    def lose(self) -> None:
        """Note that another has taken over."""
        self._lost.set()


def fence_application(name: str) -> str:
    """The application of a lease's transactions in the tables that it guards."""
    return f"lease/{name}"


def takeover_error(name: str) -> InUseError:
    """The error of a holder that another has followed."""
    return InUseError(
        f"{name} was taken over by another process, which took this one for dead: nothing of this "
        "one is committed any more"
    )


@contextmanager
def hold_lease(
    root: str, name: str, advice: str, wait: float = 0.0, *, floor: int = 0
) -> Iterator[HeldLease]:
    """Hold a lease for the time of the block.

    1. Whoever has it is watched until it is dead, released or proven alive.
    2. The next epoch is taken: of several that try, one gets it.
    3. A thread writes the heartbeat, and hears of a greater epoch. The end of the block releases.

    Args:
        root: the warehouse.
        name: what it is a lease of.
        advice: what the user can do instead of stopping who has it.
        wait: for so many seconds a living holder is waited for.
        floor: the greatest epoch that tables have seen: leases that somebody deleted count on.

    Raises:
        InUseError: another holds it.
        DeltaError: the warehouse cannot be read or written.
    """
    beats = Heartbeats(root, name)
    # 1. Wait until no other holder is alive.
    _await_turn(beats, name, advice, wait)
    # 2. Take the next epoch.
    epoch = _next_epoch(f"{root}/_checkpoints/leases/epochs", name, floor)
    current = HeldLease(name, epoch, advice)
    # 3. Show that the lease is held.
    with _mortal_file() as lock:
        beats.begin(current, lock)
        ended = threading.Event()
        thread = threading.Thread(
            target=_beat, args=(beats, current, ended), name=f"lease {name}", daemon=True
        )
        thread.start()
        try:
            yield current
        finally:
            ended.set()
            thread.join()
            beats.release(current)


class Watch:
    """Tells by changes of a heartbeat, and a monotonic clock of ours, whether a holder is alive."""

    def __init__(self, silent_seconds: float) -> None:
        self._silent = silent_seconds
        self._first: tuple[str | None] | None = None
        self._since = 0.0

    def judge(self, seen: str | None, now: float) -> bool | None:
        """Whether the holder is alive; None: not known yet.

        Args:
            seen: its newest heartbeat; None: there is none.
            now: seconds of a monotonic clock.
        """
        if seen is None:
            return False
        if self._first is None:
            self._first, self._since = (seen,), now
        elif seen != self._first[0]:
            return True
        return False if now - self._since >= self._silent else None

    def again(self) -> None:
        """Start again."""
        self._first = None


def _await_turn(beats: Heartbeats, name: str, advice: str, wait: float) -> None:
    watch, deadline = Watch(SILENT_SECONDS), time.monotonic() + wait
    is_logged = False
    while True:
        seen = beats.read()
        if seen is not None and _is_gone(seen):
            return
        alive = watch.judge(seen, time.monotonic())
        if alive is False:
            return
        if alive and time.monotonic() >= deadline:
            raise InUseError(f"{name} is in use by {_describe(seen)}: stop that one, or {advice}")
        if alive:
            watch.again()
        if not is_logged:
            is_logged = True
            log.info("lease_awaited", lease=name, holder=_describe(seen))
        time.sleep(LOOK_SECONDS)


class Heartbeats:
    """The heartbeat file of a lease."""

    def __init__(self, root: str, name: str) -> None:
        self._uri = f"{root}/_checkpoints/leases/{quote(name, safe='')}.json"
        self._text: dict[str, Any] = {}

    def read(self) -> str | None:
        """Read the newest heartbeat; None: nobody holds the lease.

        Raises:
            DeltaError: the store does not answer.
        """
        try:
            return read_text(self._uri) or None
        except OSError as error:
            raise DeltaError(f"{self._uri} cannot be read: {error_summary(error)}") from error

    def begin(self, lease: HeldLease, lock: str) -> None:
        """Write the first heartbeat of a holder.

        Raises:
            DeltaError: the store does not take it.
        """
        self._text = {
            "epoch": lease.epoch,
            "host": platform.node(),
            "process": os.getpid(),
            "since": _now(),
            "beat": 0,
            "machine": machine_id(),
            "lock": lock,
            "lock_id": _file_id(Path(lock).stat()),
        }
        try:
            self._write()
        except OSError as error:
            raise DeltaError(f"{self._uri} cannot be written: {error_summary(error)}") from error

    def beat(self, holder: HeldLease) -> None:
        """Write the next heartbeat, unless a greater epoch is there: then the lease is lost."""
        if _epoch(self.read()) > holder.epoch:
            holder.lose()
            return
        self._text["beat"] += 1
        self._write()

    def release(self, lease: HeldLease) -> None:
        """Delete the heartbeat, if it is the holder's."""
        with contextlib.suppress(OSError, DeltaError):
            if _epoch(self.read()) == lease.epoch:
                delete_files([self._uri])

    def _write(self) -> None:
        write_text(self._uri, json.dumps(self._text | {"seen": _now()}))


def _beat(beats: Heartbeats, holder: HeldLease, ended: threading.Event) -> None:
    while not ended.wait(BEAT_SECONDS) and not holder.is_lost:
        try:
            beats.beat(holder)
        except (OSError, DeltaError) as error:
            # The store may be away for a while; if another takes over, its fence holds.
            log.warning("lease_not_renewed", lease=holder.name, reason=str(error))
    if holder.is_lost:
        log.warning("lease_lost", lease=holder.name)


def _next_epoch(table: str, name: str, floor: int = 0) -> int:
    """Take the next epoch of a lease.

    Raises:
        DeltaError: the table cannot be read or written.
    """
    for number in range(_ATTEMPTS):
        try:
            return _commit_epoch(_epochs(table), name, floor)
        except CommitFailedError:
            if number == _ATTEMPTS - 1:
                raise DeltaError(f"{table}: {name} is wanted by too many: start again") from None
        except (DeltaRsError, OSError) as error:
            raise DeltaError(f"{table} cannot be used: {error_summary(error)}") from error
    raise AssertionError


def _epochs(table: str) -> DeltaTable:
    try:
        return DeltaTable(table)
    except TableNotFoundError:
        if "://" not in table:
            Path(table).mkdir(parents=True, exist_ok=True)
        return DeltaTable.create(table, _NO_ROWS, mode="ignore", name="leases")


def _commit_epoch(epochs: DeltaTable, name: str, floor: int) -> int:
    epoch = max(epochs.transaction_version(name) or 0, floor) + 1
    properties = CommitProperties(app_transactions=[Transaction(name, epoch)])
    epochs.create_write_transaction([], "append", epochs.schema(), commit_properties=properties)
    return epoch


def machine_id() -> str:
    """The id of this machine since its last boot; empty: not known."""
    try:
        return _BOOT.read_text(encoding="ascii").strip()
    except OSError:
        return ""


@contextmanager
def _mortal_file() -> Iterator[str]:
    """A locked file: the system ends the lock with the process, even after kill -9."""
    with tempfile.NamedTemporaryFile("w", prefix="scorestream-", suffix=".lease") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield file.name


def _is_gone(seen: str) -> bool:
    """Whether a holder was a process of this machine that has ended: no need to watch it."""
    text = _parse(seen)
    if not machine_id() or text.get("machine") != machine_id():
        return False
    with contextlib.suppress(OSError, KeyError), Path(text["lock"]).open() as file:
        if _file_id(os.fstat(file.fileno())) == text["lock_id"] and _is_free(file):
            Path(text["lock"]).unlink(missing_ok=True)
            return True
    # Another container, or a file that was cleared away: it has to be watched.
    return False


def _is_free(file: TextIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _file_id(status: os.stat_result) -> list[int]:
    return [status.st_dev, status.st_ino]


def _describe(seen: str | None) -> str:
    text = _parse(seen or "")
    return (
        f"process {text.get('process')} on {text.get('host')} since {text.get('since')}, last seen "
        f"{text.get('seen')}"
    )


def _epoch(seen: str | None) -> int:
    return int(_parse(seen or "").get("epoch", 0))


def _parse(seen: str) -> dict[str, Any]:
    try:
        parsed = json.loads(seen)
    except ValueError:
        return {}
    return parsed if isinstance(parsed, dict) else {}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
