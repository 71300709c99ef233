"""Paths and URIs, as pyarrow's file systems know them."""

from __future__ import annotations

import contextlib
import fnmatch
import shutil
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote, unquote
from uuid import uuid4

from pyarrow.fs import (
    FileInfo,
    FileSelector,
    FileSystem,
    FileType,
    LocalFileSystem,
    SubTreeFileSystem,
    copy_files,
)

# Hadoop's names of object stores, which pyarrow knows by others.
_SCHEMES = {"s3a": "s3", "s3n": "s3", "abfss": "abfs"}


def filesystem_of(uri: str) -> tuple[FileSystem, str]:
    """The file system of a path or URI, and the path on it."""
    scheme, separator, rest = uri.partition("://")
    if not separator:
        return LocalFileSystem(), uri
    if scheme == "file":
        return LocalFileSystem(), unquote(rest)
    filesystem, path = FileSystem.from_uri(f"{_SCHEMES.get(scheme, scheme)}://{rest}")
    return filesystem, path


def folder_filesystem(uri: str) -> FileSystem:
    """The file system whose root is the folder at a path or URI."""
    filesystem, path = filesystem_of(uri)
    return SubTreeFileSystem(path, filesystem)


def as_uri(given: str) -> str:
    """A path as a URI; a URI, or a pattern with ``*``, as it is otherwise."""
    return given if "://" in given else Path(given).absolute().as_uri().replace("%2A", "*")


def exists(uri: str) -> bool:
    """Whether there is a file or folder at a URI."""
    filesystem, path = filesystem_of(uri)
    [info] = filesystem.get_file_info([path])
    return bool(info.type != FileType.NotFound)


def copy_folder(source: str, target: str) -> None:
    """Copy a folder; each file comes whole, in the place of the one that is there.

    Args:
        source: path or URI.
        target: path or URI of the folder that the files come to.
    """
    from_filesystem, from_path = filesystem_of(source)
    filesystem, path = filesystem_of(target)
    new = f"{path}.{uuid4().hex}"
    filesystem.create_dir(new, recursive=True)
    try:
        copy_files(from_path, new, from_filesystem, filesystem)
        for name in _sizes(filesystem, new):
            filesystem.create_dir(f"{path}/{name}".rpartition("/")[0], recursive=True)
            filesystem.move(f"{new}/{name}", f"{path}/{name}")
    finally:
        # A copy that is tried again and again must not fill the disk that it did not fit on.
        with contextlib.suppress(OSError):
            filesystem.delete_dir(new)


def file_sizes(uri: str) -> dict[str, int]:
    """Bytes of the files in a folder and below it, by their paths in it; none without it."""
    return _sizes(*filesystem_of(uri))


def _sizes(filesystem: FileSystem, folder: str) -> dict[str, int]:
    found = filesystem.get_file_info(FileSelector(folder, recursive=True, allow_not_found=True))
    files = [info for info in found if info.type == FileType.File]
    return {info.path.removeprefix(folder).lstrip("/"): info.size for info in files}


def remove_folder(uri: str) -> None:
    """Remove a folder with all in it, if there is one."""
    if exists(uri):
        filesystem, path = filesystem_of(uri)
        filesystem.delete_dir(path)


def find_files(uri: str) -> list[tuple[str, int]]:
    """URIs and sizes of the files at a URI, in order.

    Args:
        uri: a file, a folder (with all below it), or a pattern with ``*`` in its last part.

    Raises:
        OSError: it cannot be read.
    """
    folder, _, name = uri.rpartition("/")
    filesystem, path = filesystem_of(folder if "*" in name else uri)
    if "*" in name:
        found = filesystem.get_file_info(FileSelector(path))
        infos = [info for info in found if fnmatch.fnmatch(info.base_name, name)]
    else:
        infos = filesystem.get_file_info([path])
        if infos[0].type == FileType.Directory:
            infos = filesystem.get_file_info(FileSelector(path, recursive=True))
    return sorted((_uri(uri, info), info.size) for info in infos if info.type == FileType.File)


def _uri(given: str, info: FileInfo) -> str:
    """The URI of a file found at or below the URI that was given."""
    scheme = given.partition("://")[0]
    return f"{scheme}://{quote(info.path) if scheme == 'file' else info.path}"


def modified_files(folder: str, ending: str) -> list[tuple[str, float]]:
    """URIs of the files in a folder with an ending, by name, and when each was written last.

    Times are unix seconds; a folder that is not there has no files.
    """
    filesystem, path = filesystem_of(folder)
    infos = filesystem.get_file_info(FileSelector(path, allow_not_found=True))
    found = [info for info in infos if info.base_name.endswith(ending)]
    return sorted((f"{folder}/{info.base_name}", info.mtime_ns / 1e9) for info in found)


def delete_files(uris: Iterable[str]) -> None:
    """Delete files."""
    for uri in uris:
        filesystem, path = filesystem_of(uri)
        filesystem.delete_file(path)


def free_bytes(uri: str) -> int | None:
    """Free space where a file or folder is, or would be; None where that is not this machine's."""
    # To ask for another file system might mean to ask the network.
    if "://" in uri and not uri.startswith("file://"):
        return None
    there = Path(filesystem_of(uri)[1]).absolute()
    return shutil.disk_usage(next(p for p in (there, *there.parents) if p.exists())).free


def read_text(uri: str) -> str | None:
    """The text of a file; None where there is none."""
    filesystem, path = filesystem_of(uri)
    [info] = filesystem.get_file_info([path])
    if info.type == FileType.NotFound:
        return None
    with filesystem.open_input_stream(path) as file:
        return bytes(file.read()).decode()


def write_text(uri: str, text: str) -> None:
    """Write a file, whole or not at all, and the folder it is in."""
    filesystem, path = filesystem_of(uri)
    filesystem.create_dir(path.rpartition("/")[0], recursive=True)
    # Of two who write it at the same time, the later wins.
    new = f"{path}.{uuid4().hex}.new"
    try:
        with filesystem.open_output_stream(new) as file:
            file.write(text.encode())
        filesystem.move(new, path)
    except OSError:
        with contextlib.suppress(OSError):
            filesystem.delete_file(new)
        raise
