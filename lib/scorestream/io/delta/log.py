"""The transaction log of a table as files: what it names, and words taken out of it.

A commit is never removed here: a writer that began before could put its own in the place of it.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import DeltaTable

from scorestream.io.filesystem import delete_files, filesystem_of, modified_files, write_text

_NAMING: Final = ("add", "remove")


def names_in_log(table_uri: str) -> set[str]:
    """Names of the data files that commits and checkpoints have added or removed."""
    names = set()
    for uri in _commits(table_uri):
        for line in _read(uri).splitlines():
            names |= {
                action["path"] for kind, action in json.loads(line).items() if kind in _NAMING
            }
    for uri in _checkpoints(table_uri):
        filesystem, path = filesystem_of(uri)
        actions = pq.read_table(path, filesystem=filesystem, columns=["add.path", "remove.path"])
        for kind in set(_NAMING) & set(actions.column_names):
            names |= set(pc.struct_field(actions[kind], "path").to_pylist())
    return names - {None}


def take_out_of_log(table_uri: str, word: re.Pattern[str]) -> int:
    """Take a word out of the log, where statistics and old conditions may have it.

    1. commits that have it are written anew, without the statistics of the files named there
    2. a new checkpoint is made, and earlier ones, which have the statistics of then, are deleted

    Returns:
        How many commits had it.
    """
    # 1.
    cleaned = 0
    for uri in _commits(table_uri):
        lines = _read(uri).splitlines()
        left = [_line_without(line, word) for line in lines]
        if left != lines:
            write_text(uri, "\n".join(left))
            cleaned += 1
    # 2.
    DeltaTable(table_uri).create_checkpoint()
    delete_files(_checkpoints(table_uri)[:-1])
    return cleaned


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


def _read(uri: str) -> str:
    filesystem, path = filesystem_of(uri)
    with filesystem.open_input_stream(path) as file:
        return bytes(file.read()).decode()
