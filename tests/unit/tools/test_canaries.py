"""Looking for secrets while files come and go."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path

import pytest

from tools.testkit.canaries import Leaks, needles, watch_for_leaks
from tools.testkit.installation import wait_until

SECRET = {"PASSWORD": "Canary4Test"}


def test_folders_that_come_and_go_do_not_end_the_looking(tmp_path: Path) -> None:
    leaks, over = Leaks(needles(SECRET)), threading.Event()

    def come_and_go() -> None:
        while not over.is_set():
            (tmp_path / "a" / "b").mkdir(parents=True)
            shutil.rmtree(tmp_path / "a")

    coming = threading.Thread(target=come_and_go)
    coming.start()
    try:
        for _ in range(2000):
            leaks.look_into(tmp_path)
    finally:
        over.set()
        coming.join()
    (tmp_path / "late").write_text("Canary4Test")
    leaks.look_into(tmp_path)
    assert leaks.found == {(str(tmp_path / "late"), "PASSWORD")}


def test_a_file_is_found_while_it_is_there(tmp_path: Path) -> None:
    leaks = Leaks(needles(SECRET))
    with watch_for_leaks(os.getsid(0), tmp_path, leaks):
        (tmp_path / "short").write_text("a Canary4Test within")
        wait_until(lambda: bool(leaks.found))
        (tmp_path / "short").unlink()
    assert leaks.found == {(str(tmp_path / "short"), "PASSWORD")}


class BlindLeaks(Leaks):
    """Cannot look at files."""

    def look_into(self, folder: Path) -> None:
        self.seen.add("tried")
        raise PermissionError(f"cannot look into {folder}")


def test_who_cannot_look_says_so(tmp_path: Path) -> None:
    leaks = BlindLeaks(needles(SECRET))
    with (
        pytest.raises(PermissionError, match="cannot look"),
        watch_for_leaks(os.getsid(0), tmp_path, leaks),
    ):
        wait_until(lambda: "tried" in leaks.seen)
