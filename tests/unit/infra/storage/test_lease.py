"""Leases: one holder at a time, whatever the machine, and the next soon after it died."""

from __future__ import annotations

import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scorestream.infra.errors import InUseError
from scorestream.infra.storage import lease
from scorestream.infra.storage.lease import Heartbeats, Watch, hold_lease

HOLDER = """
import sys
from scorestream.infra.storage.lease import hold_lease
with hold_lease(sys.argv[1], "stream", "wait") as held:
    print(held.epoch, flush=True)
    sys.stdin.read()
"""


def holder(root: str) -> subprocess.Popen[str]:
    """Another process, which holds the lease until its input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", f"import sys; sys.path[:] = {sys.path!r}\n{HOLDER}", root],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline().strip().isdigit()
    return process


def test_each_holder_has_a_greater_epoch(tmp_path: Path) -> None:
    epochs = []
    for root in (str(tmp_path), f"file://{tmp_path}", str(tmp_path)):
        with hold_lease(root, "stream", "wait") as held:
            epochs.append(held.fence)
        with hold_lease(root, "upkeep", "wait") as held:
            assert held.fence == ("lease/upkeep", len(epochs))
    assert epochs == [("lease/stream", 1), ("lease/stream", 2), ("lease/stream", 3)]


@pytest.mark.parametrize("machine", ["this", "another"])
def test_a_living_holder_is_named_however_the_folder_is_written(
    machine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with holder(str(tmp_path)) as process:
        if machine == "another":
            monkeypatch.setattr(lease, "machine_id", lambda: "another")
        told = rf"stream is in use by process {process.pid} on .* since .*: stop that one, or wait"
        with (
            pytest.raises(InUseError, match=told),
            hold_lease(f"file://{tmp_path}", "stream", "wait"),
        ):
            pass
        process.communicate()


@pytest.mark.parametrize("machine", ["this", "another"])
def test_a_killed_holder_is_followed(
    machine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with holder(str(tmp_path)) as process:
        process.send_signal(signal.SIGKILL)
    if machine == "another":
        # Only there it has to be watched, and only here for less than seconds.
        monkeypatch.setattr(lease, "machine_id", lambda: "another")
        monkeypatch.setattr(lease, "SILENT_SECONDS", 0.1)
    else:
        monkeypatch.setattr(lease, "SILENT_SECONDS", 1e9)
    with hold_lease(str(tmp_path), "stream", "wait") as held:
        assert held.epoch == 2


def test_who_waits_comes_next(tmp_path: Path) -> None:
    with holder(str(tmp_path)) as process, ThreadPoolExecutor(1) as pool:

        def wait() -> int:
            with hold_lease(str(tmp_path), "stream", "wait", wait=600) as held:
                return held.epoch

        waiting = pool.submit(wait)
        process.send_signal(signal.SIGKILL)
        assert waiting.result() == 2


def test_a_holder_that_was_taken_for_dead_hears_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "machine_id", lambda: "another")
    monkeypatch.setattr(lease, "BEAT_SECONDS", 1e9)
    beats = Heartbeats(str(tmp_path), "stream")
    with hold_lease(str(tmp_path), "stream", "wait") as first:
        first.check()
        monkeypatch.setattr(lease, "SILENT_SECONDS", 0.0)
        with hold_lease(str(tmp_path), "stream", "wait") as second:
            beats.beat(first)
            assert (first.is_lost, second.is_lost, second.epoch) == (True, False, 2)
            with pytest.raises(InUseError, match="stream was taken over"):
                first.check()
    assert beats.read() is None


def test_of_many_at_once_each_gets_its_own_epoch(tmp_path: Path) -> None:
    take = (
        f"import sys; sys.path[:] = {sys.path!r}\n"
        "from scorestream.infra.storage.lease import _next_epoch\n"
        "print(*(_next_epoch(sys.argv[1], 'x') for _ in range(5)))"
    )
    several = [
        subprocess.Popen(
            [sys.executable, "-c", take, str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    told = [process.communicate()[0].split() for process in several]
    assert sorted(int(epoch) for each in told for epoch in each) == list(range(1, 16))


@given(
    steps=st.lists(st.tuples(st.floats(0, 3), st.booleans()), min_size=1, max_size=30),
)
def test_only_silence_of_ten_seconds_is_death(steps: list[tuple[float, bool]]) -> None:
    watch, now, beat, silent = Watch(10.0), 0.0, 0, 0.0
    assert watch.judge("0", now) is None
    for seconds, beats in steps:
        now, silent, beat = now + seconds, silent + seconds, beat + beats
        alive = watch.judge(str(beat), now)
        if beat:
            assert alive is True
            return
        assert alive is (False if silent >= 10 else None)


def test_where_nothing_is_seen_nobody_is() -> None:
    assert Watch(10.0).judge(None, 0.0) is False
