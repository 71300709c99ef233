"""`scorestream score`: the core's digits, rejects with their lines, exit codes."""

from __future__ import annotations

import csv
import gzip
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scorestream.commands.message_files import read_lines
from scorestream.infra.config.settings import PROJECT_ROOT
from scorestream.wallets.core.pipeline import score_messages
from scorestream.wallets.core.scoring import Scoring
from tools.local.samples import SAMPLES, sample_records
from tools.testkit.golden import Golden, differences, golden_wallets, results

GOOD = SAMPLES / "lp_wallets.jsonl"


def command(*arguments: str, typed: bytes = b"") -> tuple[int, str, str]:
    """Run the command: exit code, stdout, stderr."""
    done = subprocess.run(
        [sys.executable, "-m", "scorestream", *arguments],
        cwd=PROJECT_ROOT,
        input=typed,
        capture_output=True,
        check=False,
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def scores_of(*arguments: str, typed: bytes = b"") -> list[dict[str, Any]]:
    """What the command prints as JSON."""
    code, out, err = command("score", *arguments, "--format", "json", typed=typed)
    assert code == 0, err
    return [json.loads(line) for line in out.splitlines()]


def lines_of(golden: list[Golden]) -> bytes:
    lines = [json.dumps({"as_of": each.as_of, "message": each.message}) for each in golden]
    return "\n".join(lines).encode()


def test_golden_wallets_have_their_digits() -> None:
    golden = golden_wallets()
    scores = scores_of("-", typed=lines_of(golden))
    for score, each in zip(scores, golden, strict=True):
        assert differences(score, each.expected) == []


@pytest.mark.parametrize("name", ["lp_wallets.jsonl", "dex_wallets_2021.jsonl.gz"])
def test_samples_are_scored_as_by_the_core(name: str, scoring: Scoring) -> None:
    records = list(sample_records([name]))
    moments = np.array([record.timestamp or 0 for record in records]) // 1000
    expected = results(score_messages([record.value for record in records], moments, (scoring,)))
    shown = scores_of(str(SAMPLES / name))
    for score, row in zip(shown, expected, strict=True):
        assert score["zscore"] == f"{row['zscore']:f}"
        for column in ("wallet_address", "as_of", "tags", "features", "breakdown"):
            assert score[column] == row[column]
        assert score["config_hash"] == scoring.config_hash


def test_a_reject_is_told_with_its_line_code_and_path(tmp_path: Path) -> None:
    good = GOOD.read_text().splitlines()[0]
    bad = json.loads(good)
    bad["message"]["data"][0]["transactions"][0]["timestamp"] = "yesterday"
    file = tmp_path / "wallets.jsonl"
    file.write_text("\n".join([good, "", json.dumps(bad), '{"wallet_address": "0x1"}', good]))
    code, out, err = command("score", str(file), "--format", "csv")
    assert code == 0
    assert len(out.splitlines()) == 1 + 2
    first, second, counted = err.splitlines()
    path = "data[0].transactions[0].timestamp: must be unix seconds"
    assert first.startswith(f"{file}:3: invalid_timestamp: {path}")
    assert second.startswith(f"{file}:4: missing_as_of: the line is not of the form")
    assert counted == "2 scores, 2 rejects"


def test_one_moment_may_be_given_for_all_messages() -> None:
    [line] = GOOD.read_bytes().splitlines()[:1]
    message = json.dumps(json.loads(line)["message"]).encode()
    [own] = scores_of("-", typed=line)
    [same] = scores_of("-", "--as-of", str(own["as_of"]), typed=message)
    assert same == own
    [later] = scores_of("-", "--as-of", "2030-01-01", typed=message)
    assert later["as_of"] == 1_893_456_000
    assert later["features"]["account_age_days"] == own["features"]["account_age_days"]
    assert later["breakdown"]["lp"]["holding_score"] >= own["breakdown"]["lp"]["holding_score"]


def test_generated_wallets_are_scored(tmp_path: Path) -> None:
    file = tmp_path / "wallets.jsonl.gz"
    asked = ("--wallets", "12", "--days", "30", "--seed", "7", "--output", str(file))
    code, out, err = command("generate_wallets", *asked)
    assert (code, err) == (0, "")
    assert out.startswith("12 wallets, ")
    assert len(scores_of(str(file))) == 12


def test_csv_has_a_column_for_each_part() -> None:
    code, out, _ = command("score", str(GOOD), "--format", "csv")
    assert code == 0
    rows = list(csv.DictReader(io.StringIO(out)))
    for row, score in zip(rows, scores_of(str(GOOD)), strict=True):
        assert row["zscore"] == score["zscore"]
        assert row["tags"] == ", ".join(score["tags"])
        holding = float(row["breakdown.lp.holding_score"])
        assert holding == score["breakdown"]["lp"]["holding_score"]


def test_a_table_shows_wallets_scores_parts_and_tags() -> None:
    code, out, err = command("score", str(GOOD))
    assert (code, err) == (0, "8 scores, 0 rejects\n")
    for shown in ("1d809f69e", "449.9768", "lp 749.96 = volume 300.00", "Multi-Pool LP"):
        assert shown in out


def test_it_ends_without_a_word_where_nobody_reads_on() -> None:
    name = str(SAMPLES / "dex_wallets_2021.jsonl.gz")
    with subprocess.Popen(
        [sys.executable, "-m", "scorestream", "score", name, "--format", "json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert json.loads(process.stdout.readline())["scoring"] == "dex-v1"
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 1


def test_files_are_read_in_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scorestream.commands.message_files.BATCH_BYTES", 10)
    file = tmp_path / "lines.jsonl.gz"
    file.write_bytes(gzip.compress(b"[1, 2]\n\n[3, 4]\n  \n[5]"))
    batches = [(batch.numbers, batch.lines) for batch in read_lines(str(file))]
    assert batches == [([1, 3], [b"[1, 2]", b"[3, 4]"]), ([5], [b"[5]"])]


def test_a_file_that_cannot_be_read_is_one_clear_error(tmp_path: Path) -> None:
    code, out, err = command("score", str(tmp_path / "none.jsonl"), "--format", "json")
    assert (code, out) == (1, "")
    assert err.startswith(f"InputError: {tmp_path}/none.jsonl cannot be read: ")
    cut_off = tmp_path / "cut_off.jsonl.gz"
    cut_off.write_bytes((SAMPLES / "dex_wallets_2021.jsonl.gz").read_bytes()[:10_000])
    code, _, err = command("score", str(cut_off), "--format", "json")
    assert code == 1
    assert "cut_off.jsonl.gz cannot be read: " in err


def test_an_unknown_scoring_is_a_wrong_setting() -> None:
    code, _, err = command("score", str(GOOD), "--scoring", "nobody-v9")
    assert code == 2
    assert "nobody-v9" in err
