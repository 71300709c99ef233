"""The commands that the guides show do what the guides say."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any, Final

import pytest

from scorestream.infra.config.settings import PROJECT_ROOT
from tools.testkit.increments import check_last_scores, increments
from tools.testkit.installation import Installation

pytestmark = [pytest.mark.spark, pytest.mark.broker, pytest.mark.timeout(900)]

# What the commands write into the current folder.
WRITTEN: Final = (
    "thresholds.jsonl",
    "comparison",
    "scored.csv",
    "explained.parquet",
    "drift",
    "wallets.jsonl.gz",
    "wallets.truth.csv",
    "warehouse/training/wallets",
)


def run_commands(guide: str, folder: Path) -> list[str]:
    """Run the commands of a guide over a new warehouse; what each printed."""
    text = (PROJECT_ROOT / "docs" / guide).read_text(encoding="utf-8")
    installation = Installation(folder, "127.0.0.1:9092")
    printed = []
    for line in "".join(re.findall(r"```sh\n(.*?)```", text, re.DOTALL)).splitlines():
        _, *given = shlex.split(line)
        code, out, err = installation.run(*[str(folder / a) if a in WRITTEN else a for a in given])
        assert code == 0, err[-4000:]
        printed.append(out)
    return printed


def test_thresholds(tmp_path: Path) -> None:
    _, refreshed, queried = run_commands("thresholds.md", tmp_path)
    assert "9 thresholds of 2 protocols and *, as of 2021-06-15T00:00:00Z" in refreshed
    exported = (tmp_path / "thresholds.jsonl").read_text().splitlines()
    assert queried.count("1595") == 3
    guide = (PROJECT_ROOT / "docs" / "thresholds.md").read_text(encoding="utf-8")
    [shown] = re.findall(r"```json\n(.*?)\n```", guide, re.DOTALL)
    assert json.loads(shown) in [
        {k: pytest.approx(v) if isinstance(v, float) else v for k, v in json.loads(line).items()}
        for line in exported
    ]


def test_comparison(tmp_path: Path) -> None:
    *_, compared = run_commands("comparison.md", tmp_path)
    assert compared.startswith("8 wallets compared: ")
    report = (tmp_path / "comparison" / "comparison.md").read_text()
    assert "| on both sides | 8 |" in report
    assert (tmp_path / "comparison" / "comparison.svg").read_text().startswith("<svg")


def test_models(tmp_path: Path) -> None:
    printed = run_commands("models.md", tmp_path)
    trained, history, scored, explained, drift, again, promoted, rolled_back = printed
    assert "loan-approval/1 is the champion: there is no champion yet" in trained
    assert history.endswith("serving: loan-approval/1\n")
    assert "3,415 rows of samples/loan_approval.csv scored by loan-approval/1" in scored
    assert "explained by loan-approval/1" in explained
    assert "loan-approval/1: no drift in" in drift
    assert (tmp_path / "drift" / "drift.html").is_file()
    assert "loan-approval/2 is the c" in again
    assert promoted == "loan-approval/2 is the champion\n"
    assert "loan-approval/1 is the champion again, loan-approval/2 was" in rolled_back
    assert len((tmp_path / "scored.csv").read_text().splitlines()) == 3416


def test_wallet_models(tmp_path: Path) -> None:
    printed = run_commands("wallet_models.md", tmp_path)
    generated, backfilled, examples, retention, anomaly, explained = printed
    assert generated.startswith("400 wallets, ")
    assert backfilled.startswith("400 scores, 0 rejects")
    assert "examples at 3 cutoffs, with labels of 30 days" in examples
    assert "of baseline active_before" in retention
    assert "wallet-retention/1 is the champion: there is no champion yet" in retention
    assert "of baseline swaps_a_day" in anomaly
    assert "wallet-anomaly/1 is the champion: there is no champion yet" in anomaly
    assert "explained by wallet-anomaly/1" in explained
    assert (tmp_path / "explained.parquet").is_file()


def of_section(section: str) -> list[list[str]]:
    """The arguments of spark-submit.sh in the commands of a section of docs/history.md."""
    page = (PROJECT_ROOT / "docs" / "history.md").read_text(encoding="utf-8")
    text = page.split(f"\n## {section}\n")[1].split("\n## ")[0]
    lines = re.findall(r"^(?:\w+=\w+ )?\./spark-submit\.sh (.+)$", text, re.MULTILINE)
    return [shlex.split(line, comments=True) for line in lines]


def test_backfills(installation: Installation) -> None:
    told = []
    for arguments in of_section("Backfill"):
        code, out, err = installation.run(*arguments)
        assert code == 0, err
        told.append(out.strip().splitlines()[-1].rpartition(", run ")[0])
    messages, history, trend, table = told
    assert messages.endswith("0 rejects")
    wallets = int(messages.split()[0])
    assert history == f"{wallets} scores, 0 rejects"
    # A wallet has no score before its first transaction.
    assert wallets < int(trend.split()[0]) <= 5 * wallets
    assert table == "2 scores, 1 rejects"
    [reject] = installation.rows("rejects")
    assert 'must be unix seconds or milliseconds, integral, is "yesterday"' in reject["error"]
    scores = {row["wallet_key"]: row for row in installation.rows("scores")}
    trader = scores["0xc9b7e5e1c2c6d3ba3a6a3f0a3cafe0b1d2e3f405"]
    assert trader["features"]["total_swap_volume"] == 2609.5
    published = installation.messages(installation.settings.kafka_success_topic)
    assert len(published) == 2


def test_incremental_messages(installation: Installation) -> None:
    batches = increments()
    installation.publish([record for batch in batches for record in batch])
    stream, _, history = of_section("Incremental messages")
    for arguments in ([*stream, "--available-now"], history):
        code, _, err = installation.run(*arguments, WALLET_MESSAGES="incremental")
        assert code == 0, err
    scores = installation.rows("scores")
    topic = installation.input_topic
    streamed = [row for row in scores if row["source_topic"] == topic]
    assert len(streamed) == sum(map(len, batches))
    check_last_scores(streamed)
    again = [row for row in scores if row["source_topic"] == f"transactions:{topic}"]
    for row in again:
        row["source_topic"] = topic
    assert comparable(again) == comparable(streamed)


def comparable(scores: list[dict[str, Any]]) -> list[str]:
    """Scores without when, by what and in which run they were made."""
    made = {"scored_at", "scored_date", "processing_time_ms", "run_id", "batch_id"}
    return sorted(str({k: v for k, v in row.items() if k not in made}) for row in scores)
