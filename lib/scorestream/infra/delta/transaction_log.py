"""The transaction log of a table as files: search, damage checks, expiry.

A commit is never written anew: readers and caches take it for unchangeable. A word gets out of the
log as Delta's own clean-up has it: a checkpoint is made that lacks it, and what is before goes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import Any, Final, NamedTuple

import pyarrow.compute as pc
import pyarrow.parquet as pq

from scorestream.infra.errors import DamagedTableError
from scorestream.infra.storage.filesystem import delete_files, filesystem_of, list_modified_files

RETENTION: Final = "delta.logRetentionDuration"
DEFAULT_RETENTION: Final = timedelta(days=30)
_NAMING: Final = ("add", "remove")
_VERSION: Final = re.compile(r"(\d{20})\.")
_INTERVAL: Final = re.compile(r"interval (\d+) (second|minute|hour|day|week)s?")


class LoggedNames(NamedTuple):
    """Names of data files in the log.

    Attributes:
        added: that some version which the log still has may need.
        removed: that some commit took away.
    """

    added: frozenset[str]
    removed: frozenset[str]


def read_logged_names(table_uri: str) -> LoggedNames:
    """Names of the data files that commits and checkpoints have added or removed."""
    names: dict[str, set[str]] = {kind: set() for kind in _NAMING}
    for uri in _commits(table_uri):
        for kind, action in _actions(uri):
            if kind in names:
                names[kind].add(action["path"])
    for uri in _checkpoints(table_uri):
        for kind in _NAMING:
            names[kind] |= set(_read_file_entries(uri, kind, "path"))
    return LoggedNames(*(frozenset(names[kind]) for kind in _NAMING))


def is_committed(table_uri: str, since: int, reason: str) -> bool:
    """Whether a commit after a version has this unique reason.

    What was refused may have been made all the same, where only the answer was lost.
    """
    uris = [uri for uri in _commits(table_uri) if int(_version(uri)) > since]
    return any(
        kind == "commitInfo" and action.get("userMetadata") == reason
        for uri in uris
        for kind, action in _actions(uri)
    )


def find_log_entries(table_uri: str, holds: Callable[[str], bool]) -> list[str]:
    """Find the commits and checkpoints with a text that matches.

    Statistics and old conditions may have what no row has any more.
    """
    entries = [uri for uri in _commits(table_uri) if any(_has(a, holds) for _, a in _actions(uri))]
    return entries + [uri for uri in _checkpoints(table_uri) if _checkpoint_has(uri, holds)]


def expire_log(table_uri: str, version: int) -> int:
    """Delete the log's entries of before a version, of which there is a checkpoint; how many.

    No earlier version can be read any more. A writer that began before them finds that entries
    lack, and begins anew.
    """
    files = [uri for uri, _ in list_modified_files(f"{table_uri}/_delta_log", "")]
    named = [(uri, _VERSION.match(uri.rpartition("/")[2])) for uri in files]
    old = [uri for uri, files in named if files and int(files[1]) < version]
    # The newest last: whoever reads meanwhile begins at a checkpoint, or misses the first entries.
    delete_files(old)
    return len(old)


def log_retention(properties: Mapping[str, str]) -> timedelta:
    """How long a table keeps entries of its log, by its properties."""
    match = _INTERVAL.fullmatch(properties.get(RETENTION, "").strip().lower())
    return timedelta(**{f"{match[2]}s": int(match[1])}) if match else DEFAULT_RETENTION


def refuse_damaged_log(table_uri: str) -> None:
    """Refuse a table of which a commit that readers need is cut off, emptied or overwritten.

    An empty one would be read as a commit of nothing, and its rows be lost without a word.

    Raises:
        DamagedTableError: with the file's name.
    """
    checkpoints = _checkpoints(table_uri)
    newest = _version(checkpoints[-1]) if checkpoints else ""
    for uri in _commits(table_uri):
        if _version(uri) > newest and not _is_whole(uri):
            raise DamagedTableError(
                f"commit {uri} is damaged: get it back from a copy, or see 'A damaged table' in "
                "docs/troubleshooting.md"
            )


def is_whole(table_uri: str, version: int) -> bool:
    """Whether a commit is there, and neither cut off, emptied nor overwritten."""
    try:
        return _is_whole(f"{table_uri}/_delta_log/{version:020}.json")
    except FileNotFoundError:
        return False


def _version(uri: str) -> str:
    return uri.rpartition("/")[2].partition(".")[0]


def _is_whole(commit: str) -> bool:
    try:
        lines = _lines(commit)
        return bool(lines) and all(isinstance(json.loads(line), dict) for line in lines)
    except ValueError:
        return False


def _checkpoint_has(uri: str, holds: Callable[[str], bool]) -> bool:
    return any(
        _has(json.loads(stats), holds)
        for kind in _NAMING
        for stats in _read_file_entries(uri, kind, "stats")
    )


def _read_file_entries(checkpoint: str, kind: str, part: str) -> Iterator[str]:
    """What a checkpoint says of each data file added, or removed: its path, or the statistics."""
    filesystem, path = filesystem_of(checkpoint)
    with pq.ParquetFile(path, filesystem=filesystem) as file:
        [column] = file.read([f"{kind}.{part}"]).columns or [None]
    if column is not None and column.type.get_field_index(part) >= 0:
        values = pc.struct_field(column, part).to_pylist()
        yield from (value for value in values if value)


def _has(value: Any, holds: Callable[[str], bool]) -> bool:
    """Whether a text anywhere in a JSON value is one that is looked for."""
    if isinstance(value, dict):
        return any(_has(each, holds) for each in value.values())
    if isinstance(value, list):
        return any(_has(each, holds) for each in value)
    return isinstance(value, str) and holds(value)


def _commits(table_uri: str) -> list[str]:
    uris = (uri for uri, _ in list_modified_files(f"{table_uri}/_delta_log", ".json"))
    return [uri for uri in uris if _version(uri).isdecimal()]


def _checkpoints(table_uri: str) -> list[str]:
    files = list_modified_files(f"{table_uri}/_delta_log", ".parquet")
    return [uri for uri, _ in files if ".checkpoint." in uri]


def _actions(commit: str) -> Iterator[tuple[str, Any]]:
    """The actions of a commit, or none if it is gone by now."""
    try:
        lines = _lines(commit)
    except FileNotFoundError:
        return
    for line in lines:
        yield from json.loads(line).items()


def _lines(uri: str) -> list[str]:
    filesystem, path = filesystem_of(uri)
    with filesystem.open_input_stream(path) as file:
        text = bytes(file.read()).decode()
    # Texts in JSON may have what Python takes for further ends of lines.
    return [line for line in text.split("\n") if line]
