"""The transaction log of a table as files: what it names, and words taken out of it.

A commit is never removed here: a writer that began before could put its own in the place of it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final

import pyarrow.compute as pc
import pyarrow.parquet as pq

from scorestream.errors import DamagedTableError
from scorestream.io.filesystem import delete_files, filesystem_of, modified_files, write_text

_NAMING: Final = ("add", "remove")


def names_in_log(table_uri: str) -> set[str]:
    """Names of the data files that commits and checkpoints have added or removed."""
    names = set()
    for uri in _commits(table_uri):
        for line in _lines(uri):
            names |= {
                action["path"] for kind, action in json.loads(line).items() if kind in _NAMING
            }
    for uri in _checkpoints(table_uri):
        names |= set(_of_files(uri, "path"))
    return names


def take_out_of_log(table_uri: str, word: re.Pattern[str]) -> int:
    """Take a word out of the log, where statistics and old conditions may have it.

    1. commits that have it are written anew, without the statistics of the files named there
    2. checkpoints that have it are deleted, unless it is the newest

    Returns:
        How many commits had it.
    """
    # 1.
    cleaned = 0
    for uri in _commits(table_uri):
        lines = _lines(uri)
        left = [_line_without(line, word) for line in lines]
        if left != lines:
            write_text(uri, "\n".join(left))
            cleaned += 1
    # 2.
    delete_files(uri for uri in _checkpoints(table_uri)[:-1] if _checkpoint_has(uri, word))
    return cleaned


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


def _checkpoint_has(uri: str, word: re.Pattern[str]) -> bool:
    return any(_has(json.loads(stats), word) for stats in _of_files(uri, "stats"))


def _of_files(checkpoint: str, part: str) -> Iterator[str]:
    """What a checkpoint says of each data file, added or removed; the path, or the statistics."""
    filesystem, path = filesystem_of(checkpoint)
    columns = [f"{kind}.{part}" for kind in _NAMING]
    with pq.ParquetFile(path, filesystem=filesystem) as file:
        actions = file.read(columns)
    for column in actions.columns:
        values = pc.struct_field(column, part).to_pylist()
        yield from (value for value in values if value)


def _line_without(line: str, word: re.Pattern[str]) -> str:
    [(kind, action)] = json.loads(line).items()
    if kind in _NAMING and _has(json.loads(action.get("stats") or "{}"), word):
        rows = json.loads(action["stats"]).get("numRecords")
        return json.dumps({kind: action | {"stats": json.dumps({"numRecords": rows})}})
    if kind == "commitInfo" and _has(action, word):
        return json.dumps({kind: _kept(action)})
    return line


def _has(value: Any, word: re.Pattern[str]) -> bool:
    """Whether a text anywhere in a JSON value has the word."""
    if isinstance(value, dict):
        return any(_has(each, word) for each in value.values())
    return isinstance(value, str) and word.search(value) is not None


def _kept(commit: dict[str, Any]) -> dict[str, Any]:
    """What was done and when; not, by which condition."""
    return {name: commit[name] for name in ("timestamp", "operation") if name in commit}


def _commits(table_uri: str) -> list[str]:
    return [uri for uri, _ in modified_files(f"{table_uri}/_delta_log", ".json")]


def _checkpoints(table_uri: str) -> list[str]:
    found = modified_files(f"{table_uri}/_delta_log", ".parquet")
    return [uri for uri, _ in found if ".checkpoint." in uri]


def _lines(uri: str) -> list[str]:
    filesystem, path = filesystem_of(uri)
    with filesystem.open_input_stream(path) as file:
        text = bytes(file.read()).decode()
    # Texts in JSON may have what Python takes for further ends of lines.
    return [line for line in text.split("\n") if line]
