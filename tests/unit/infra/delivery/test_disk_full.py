"""A full disk is told as such, whoever met it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from scorestream.infra.delivery.disk_full import full_disk_explained
from scorestream.infra.errors import DeltaError, DiskFullError
from scorestream.infra.storage.filesystem import free_bytes

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_an_error_for_want_of_space_says_where_there_is_how_much(tmp_path: Path) -> None:
    place = str(tmp_path / "not" / "made")
    told = pytest.raises(DiskFullError, match=rf"no space left .*{place}: [\d,]+ MB free, /")
    with told, full_disk_explained(place, "s3://bucket/warehouse"):
        raise FULL


def test_an_error_that_was_raised_for_want_of_space_is_one(tmp_path: Path) -> None:
    with pytest.raises(DiskFullError), full_disk_explained(str(tmp_path)):
        raise DeltaError("commit to scores") from FULL


@pytest.mark.parametrize(
    ("executor", "told"),
    [
        ("1", "MB free; or a disk of 10.0.0.7, where a task failed, is the full one)"),
        ("driver", "MB free)"),
    ],
)
def test_of_a_task_on_another_machine_that_machine_is_named(
    tmp_path: Path, executor: str, told: str
) -> None:
    lost = f"Lost task 0.3 in stage 1.0 (TID 3) (10.0.0.7 executor {executor}): {FULL}"
    with pytest.raises(DiskFullError) as caught, full_disk_explained(str(tmp_path)):
        raise DeltaError(f"Job aborted due to stage failure: {lost}")
    assert told in str(caught.value)


def test_other_errors_pass(tmp_path: Path) -> None:
    with pytest.raises(DeltaError, match=r"^other$"), full_disk_explained(str(tmp_path)):
        raise DeltaError("other")


def test_free_space_is_that_of_the_nearest_folder_that_is_there(tmp_path: Path) -> None:
    free = free_bytes(str(tmp_path / "a" / "b"))
    assert free is not None
    assert free > 0
