"""JSON lines: each line is read once, wherever a file is cut."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scorestream.infra.errors import InputError
from scorestream.wallets.backfill import json_lines as module
from scorestream.wallets.backfill.json_lines import LinesSplit, plan_lines
from scorestream.wallets.core.pipeline import Scored
from scorestream.wallets.core.scoring import Scoring

texts = st.lists(st.sampled_from([b"", b"a", b"bb", b" ", b"c" * 30, b"\r", b"d\r"]), max_size=12)


@given(texts=texts, ended=st.booleans(), step=st.integers(1, 40), read=st.integers(1, 20))
@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_every_line_is_in_one_split(
    *,
    texts: list[bytes],
    ended: bool,
    step: int,
    read: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    content = b"\n".join(texts) + (b"\n" if ended else b"")
    file = tmp_path / "lines.jsonl"
    file.write_bytes(content)
    monkeypatch.setattr(module, "BATCH_BYTES", read)
    monkeypatch.setattr(module, "LOOK_BYTES", read)
    found = [
        (int(offset), line)
        for start in range(0, len(content), step)
        for offsets, block in module._lines(
            LinesSplit(file.as_uri(), start, min(start + step, len(content)), 0)
        )
        for offset, line in zip(offsets, block, strict=True)
    ]
    assert [line for _, line in found] == [text for text in texts if text.strip()]
    for offset, line in found:
        assert content[offset : offset + len(line)] == line


def test_files_are_found_by_name_folder_and_pattern(tmp_path: Path) -> None:
    for name in ("a b.jsonl", "c.jsonl", "deeper/d.jsonl", "e.txt"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x\n")
    found = {
        what: [split.uri.rpartition("/")[2] for split in plan_lines(what, 0, 2)]
        for what in (
            str(tmp_path),
            f"{tmp_path}/*.jsonl",
            f"{tmp_path}/a b.jsonl",
            (tmp_path / "c.jsonl").as_uri(),
        )
    }
    assert [*found.values()] == [
        ["a%20b.jsonl", "c.jsonl", "d.jsonl", "e.txt"],
        ["a%20b.jsonl", "c.jsonl"],
        ["a%20b.jsonl"],
        ["c.jsonl"],
    ]
    for pattern in (f"{tmp_path}/none.jsonl", f"{tmp_path}/*.csv", f"{tmp_path}/none/*.jsonl"):
        with pytest.raises(InputError):
            plan_lines(pattern, 0, 2)


def scored(splits: list[LinesSplit], scoring: Scoring) -> list[Scored]:
    return [
        scored
        for split in splits
        for scored, _ in split.score((scoring,), include_transactions=True)
    ]


def test_compressed_files_are_read_whole(tmp_path: Path, scoring: Scoring) -> None:
    path = tmp_path / "lines.jsonl.gz"
    path.write_bytes(gzip.compress(b"{}\n[]\n" * 1000))
    [split] = plan_lines(str(path), 0, 4)
    [result] = scored([split], scoring)
    assert result.rejects.num_rows == 2000


def test_a_line_without_its_moment_is_a_reject(tmp_path: Path, scoring: Scoring) -> None:
    row = '{"document_id": "1", "action": "borrow", "timestamp": 1}'
    entry = f'{{"protocolType": "dexes", "transactions": [{row}]}}'
    message = f'{{"wallet_address": "0xA", "data": [{entry}]}}'
    path = tmp_path / "lines.jsonl"
    lines = [
        f'{{"as_of": 7, "message": {message}}}',
        message,
        f'{{"as_of": "7", "message": {message}}}',
        '{"as_of": 7, "message": {}}',
        *(f'{{"as_of": {at}, "message": {message}}}' for at in (0, -1, -(2**63), 10**11 + 1)),
        "nonsense",
    ]
    path.write_text("\n".join(lines), encoding="utf-8")
    results = scored(plan_lines(str(path), None, 1), scoring)
    scores = [row for result in results for row in result.scores.to_pylist()]
    assert [(row["wallet_address"], row["as_of"]) for row in scores] == [("0xA", 7)]
    rejects = [row for result in results for row in result.rejects.to_pylist()]
    assert sorted((row["error_code"], row["as_of"]) for row in rejects if row["as_of"]) == [
        ("missing_field", 7)
    ]
    assert [row["error_code"] for row in rejects if not row["as_of"]] == ["missing_as_of"] * 7
