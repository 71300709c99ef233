"""A log with a commit that cannot be read is refused, and the file is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from deltalake import DeltaTable

from scorestream.infra.delta.transaction_log import refuse_damaged_log
from scorestream.infra.delta.warehouse import Warehouse
from scorestream.infra.errors import DamagedTableError
from scorestream.wallets.schema.tables import SCORES
from scorestream.wallets.schema.views import CATALOG

DAMAGES: list[Callable[[bytes], bytes]] = [
    lambda whole: whole[: len(whole) // 2],
    lambda whole: bytes(len(whole)),
    lambda whole: whole[:0],
    lambda whole: whole + b"\n\xff\xfe",
    lambda whole: b"[%s]" % whole,
]


@pytest.fixture
def marked(tmp_path: Path) -> Warehouse:
    """Tables of which `scores` has three commits."""
    made = Warehouse(str(tmp_path), CATALOG)
    made.create_tables()
    for version in range(2):
        made.mark(SCORES, ("run/scores", version))
    return made


def commit_file(warehouse: Warehouse, version: int) -> Path:
    return Path(warehouse.path(SCORES), "_delta_log", f"{version:020}.json")


@pytest.mark.parametrize("version", [0, 1, 2])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_commit_is_named(
    damage: Callable[[bytes], bytes], version: int, marked: Warehouse
) -> None:
    path = commit_file(marked, version)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DamagedTableError, match=f"{path} is damaged"):
        marked.create_tables()


@pytest.mark.parametrize("damage", DAMAGES[:2])
def test_a_commit_upon_a_damaged_one_is_refused(
    damage: Callable[[bytes], bytes], marked: Warehouse
) -> None:
    path = commit_file(marked, 2)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DamagedTableError, match=f"{path} is damaged"):
        marked.mark(SCORES, ("run/scores", 2))


def test_what_lies_before_a_checkpoint_of_the_log_does_no_harm(marked: Warehouse) -> None:
    DeltaTable(marked.path(SCORES)).create_checkpoint()
    commit_file(marked, 1).write_bytes(b"")
    marked.create_tables()
    marked.mark(SCORES, ("run/scores", 2))
    assert marked.transaction_version(SCORES, "run/scores") == 2


def test_with_the_damaged_commit_moved_away_the_table_is_as_before_it(marked: Warehouse) -> None:
    path = commit_file(marked, 2)
    path.write_bytes(b"")
    path.rename(path.with_suffix(".damaged"))
    refuse_damaged_log(marked.path(SCORES))
    marked.create_tables()
    assert marked.transaction_version(SCORES, "run/scores") == 0
    marked.mark(SCORES, ("run/scores", 1))
    assert path.exists()
