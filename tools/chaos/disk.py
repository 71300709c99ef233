"""A small file system in memory, to be filled up."""

from __future__ import annotations

import errno
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tools.chaos.scenario import Skipped

_PAGE = 4096
_MOUNT = 'mount -t tmpfs -o "size=$2" tmpfs "$1" && echo ready && exec sleep infinity'


@dataclass(frozen=True)
class SmallDisk:
    """A folder that is a file system of its own, for those processes that are started in it.

    Attributes:
        folder: where they see it.
        holder: id of the process that keeps it.
    """

    folder: Path
    holder: int

    @property
    def prefix(self) -> list[str]:
        """The beginning of a command that runs another in it."""
        return ["nsenter", "--user", "--mount", "--preserve-credentials", f"--target={self.holder}"]

    @property
    def outside(self) -> Path:
        """Where other processes see it."""
        return Path(f"/proc/{self.holder}/root{self.folder}")

    def fill(self, left: int = 0) -> None:
        """Fill it up, but for so many pages of 4 KiB."""
        with self._ballast.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(_PAGE))
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
            file.truncate(max(0, file.tell() - left * _PAGE))

    def free(self) -> None:
        """Free it again."""
        self._ballast.unlink()

    def copy_out(self) -> None:
        """Copy what is in it to where other processes see its folder."""
        shutil.copytree(self.outside, self.folder, dirs_exist_ok=True)

    @property
    def _ballast(self) -> Path:
        return self.outside / "ballast"


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[SmallDisk]:
    """Mount one of a size, as `mount` takes it, on a folder.

    Raises:
        Skipped: this machine does not allow it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", _MOUNT, "sh"]
    try:
        holder = subprocess.Popen(
            [*command, str(folder), size], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
    except FileNotFoundError as error:
        raise Skipped(f"no {error.filename} here") from None
    try:
        answer = holder.stdout.readline() if holder.stdout else b""
        if answer != b"ready\n":
            raise Skipped(f"no file system may be mounted here ({answer.decode().strip()})")
        yield SmallDisk(folder, holder.pid)
    finally:
        holder.kill()
        holder.wait()
