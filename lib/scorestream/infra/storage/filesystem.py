"""Paths and URIs, as pyarrow's file systems know them."""

from __future__ import annotations

import contextlib
import fnmatch
import os
import shutil
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import quote, unquote
from uuid import uuid4

from pyarrow.fs import (
    AzureFileSystem,
    FileInfo,
    FileSelector,
    FileSystem,
    FileType,
    LocalFileSystem,
    S3FileSystem,
    SubTreeFileSystem,
    copy_files,
)

# Hadoop's names of object stores, which pyarrow knows by others.
_SCHEMES: Final = {"s3a": "s3", "s3n": "s3", "gcs": "gs"}
_AZURE: Final = ("abfs", "abfss", "az", "azure", "adl")
# An object store takes its time for each.
_DELETED_AT_ONCE: Final = 16
# In an object store a file comes whole, at once, in the place of the one that is there.
_OBJECT_STORES: Final = ("s3", "gcs", "abfs")
# What Azurite, Microsoft's emulator, has for account and key.
_EMULATOR: Final = {
    "account_name": "devstoreaccount1",
    "account_key": (
        "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
    ),
}


class S3Settings(NamedTuple):
    """What the environment says of S3; empty where it says nothing.

    Attributes:
        endpoint: URL of a store that is not Amazon's.
        region: where the buckets are.
    """

    endpoint: str
    region: str


def s3_settings() -> S3Settings:
    """What the environment says of S3, in the variables of Amazon's own tools."""
    variable = os.environ.get
    return S3Settings(
        variable("AWS_ENDPOINT_URL_S3") or variable("AWS_ENDPOINT_URL") or "",
        variable("AWS_REGION") or variable("AWS_DEFAULT_REGION") or "",
    )


def filesystem_of(uri: str) -> tuple[FileSystem, str]:
    """The file system of a path or URI, and the path on it.

    Region, endpoint and credentials of an object store are those of the environment, in the
    variables that delta-rs reads, too.
    """
    scheme, separator, rest = uri.partition("://")
    if not separator:
        return LocalFileSystem(), uri
    if scheme == "file":
        return LocalFileSystem(), unquote(rest)
    authority, _, path = rest.partition("/")
    filesystem, root = _remote(scheme, authority)
    return filesystem, f"{root}{unquote(path)}".rstrip("/")


@cache
def _remote(scheme: str, authority: str) -> tuple[FileSystem, str]:
    """A remote file system, and what paths on it begin with.

    One for all files of a bucket: each new one would ask where the bucket is, and connect anew.
    """
    if scheme in _AZURE:
        container, _, host = authority.partition("@")
        return AzureFileSystem(**_azure_options(host)), f"{container}/"
    s3 = s3_settings()
    if _SCHEMES.get(scheme, scheme) == "s3" and (s3.region or s3.endpoint):
        # Made from a URI, it would ask for the region that we know.
        options = {"region": s3.region or "us-east-1", "endpoint_override": s3.endpoint or None}
        return S3FileSystem(**options), f"{authority}/"
    filesystem, root = FileSystem.from_uri(f"{_SCHEMES.get(scheme, scheme)}://{authority}/")
    return filesystem, f"{root.rstrip('/')}/"


def forget_clients() -> None:
    """Make the clients of remote stores anew when they are needed, as the environment is then."""
    _remote.cache_clear()


def _azure_options(host: str) -> dict[str, Any]:
    """Options of the client of an account.

    Args:
        host: `account.dfs.core.windows.net`, or empty for that of the environment.
    """
    variable = os.environ.get
    options = {
        "account_name": host.partition(".")[0] or variable("AZURE_STORAGE_ACCOUNT_NAME"),
        "account_key": variable("AZURE_STORAGE_ACCOUNT_KEY"),
        "sas_token": variable("AZURE_STORAGE_SAS_TOKEN"),
    }
    if variable("AZURE_STORAGE_USE_EMULATOR", "").lower() in {"1", "true"}:
        url = variable("AZURITE_BLOB_STORAGE_URL", "http://127.0.0.1:10000")
        protocol, _, authority = url.partition("://")
        options |= _EMULATOR | {
            "blob_storage_authority": authority,
            "blob_storage_scheme": protocol,
            "dfs_storage_authority": authority,
            "dfs_storage_scheme": protocol,
        }
    return {name: value for name, value in options.items() if value}


def _replaces_whole(filesystem: FileSystem) -> bool:
    return filesystem.type_name in _OBJECT_STORES


def folder_filesystem(uri: str) -> FileSystem:
    """The file system whose root is the folder at a path or URI."""
    filesystem, path = filesystem_of(uri)
    return SubTreeFileSystem(path, filesystem)


def as_uri(location: str) -> str:
    """A path as a URI; a URI, or a pattern with ``*``, as it is otherwise."""
    return location if "://" in location else Path(location).absolute().as_uri().replace("%2A", "*")


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
    if _replaces_whole(filesystem):
        copy_files(from_path, path, from_filesystem, filesystem)
        return
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
    infos = filesystem.get_file_info(FileSelector(folder, recursive=True, allow_not_found=True))
    files = [info for info in infos if info.type == FileType.File]
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
        entries = filesystem.get_file_info(FileSelector(path))
        infos = [info for info in entries if fnmatch.fnmatch(info.base_name, name)]
    else:
        infos = filesystem.get_file_info([path])
        if infos[0].type == FileType.Directory:
            infos = filesystem.get_file_info(FileSelector(path, recursive=True))
    return sorted((_uri(uri, info), info.size) for info in infos if info.type == FileType.File)


def _uri(location: str, info: FileInfo) -> str:
    """The URI of a file found at or below the URI that was given."""
    scheme = location.partition("://")[0]
    return f"{scheme}://{quote(info.path) if scheme == 'file' else info.path}"


def list_modified_files(folder: str, ending: str) -> list[tuple[str, float]]:
    """URIs of the files in a folder with an ending, by name, and when each was written last.

    Times are unix seconds; a folder that is not there has no files.
    """
    filesystem, path = filesystem_of(folder)
    infos = filesystem.get_file_info(FileSelector(path, allow_not_found=True))
    matching = [info for info in infos if info.base_name.endswith(ending)]
    return sorted((f"{folder}/{info.base_name}", info.mtime_ns / 1e9) for info in matching)


def list_folder(folder: str) -> tuple[list[str], list[str]]:
    """Names of the folders in a folder, and of its files, in order; none without it."""
    filesystem, path = filesystem_of(folder)
    infos = filesystem.get_file_info(FileSelector(path, allow_not_found=True))
    kinds = (FileType.Directory, FileType.File)
    folders, files = (sorted(i.base_name for i in infos if i.type == kind) for kind in kinds)
    return folders, files


def delete_files(uris: Iterable[str]) -> None:
    """Delete files, in any order; one that is gone already is no error."""
    with ThreadPoolExecutor(_DELETED_AT_ONCE) as pool:
        list(pool.map(_delete_file, uris))


def _delete_file(uri: str) -> None:
    filesystem, path = filesystem_of(uri)
    with contextlib.suppress(FileNotFoundError):
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
    with replace_file(uri) as (filesystem, path):
        _put(filesystem, path, text)


@contextlib.contextmanager
def replace_file(uri: str) -> Iterator[tuple[FileSystem, str]]:
    """Open a file that replaces another one when the block ends; of two, the later wins."""
    filesystem, path = filesystem_of(uri)
    if _replaces_whole(filesystem):
        yield filesystem, path
        return
    filesystem.create_dir(path.rpartition("/")[0], recursive=True)
    new = f"{path}.{uuid4().hex}.new"
    try:
        yield filesystem, new
        filesystem.move(new, path)
    except BaseException:
        with contextlib.suppress(OSError):
            filesystem.delete_file(new)
        raise


def _put(filesystem: FileSystem, path: str, text: str) -> None:
    with filesystem.open_output_stream(path) as file:
        file.write(text.encode())
