"""Tables as input: what CSV may hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from scorestream.training import ingest
from scorestream.training.ingest import read_table


def test_a_block_may_end_within_a_value_of_two_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest, "_BLOCK_BYTES", 32)
    path = tmp_path / "rows.csv"
    path.write_text('name,x\n"a\nand the rest of this name",1\n"b\n",2\n')
    rows = read_table(str(path))
    assert rows["name"].to_pylist() == ["a\nand the rest of this name", "b\n"]
    assert rows["x"].to_pylist() == ["1", "2"]
