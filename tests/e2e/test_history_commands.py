"""The commands of docs/history.md, as they are written there."""

from __future__ import annotations

import re
import shlex
from typing import Any

import pytest

from increments import check_last_scores, increments
from installation import Installation
from scorestream.settings import PROJECT_ROOT

pytestmark = [pytest.mark.spark, pytest.mark.broker]

PAGE = (PROJECT_ROOT / "docs" / "history.md").read_text(encoding="utf-8")


def commands(section: str) -> list[list[str]]:
    """The arguments of spark-submit.sh in a section's commands."""
    text = PAGE.split(f"\n## {section}\n")[1].split("\n## ")[0]
    lines = re.findall(r"^(?:\w+=\w+ )?\./spark-submit\.sh (.+)$", text, re.MULTILINE)
    return [shlex.split(line, comments=True) for line in lines]


def test_backfills(installation: Installation) -> None:
    told = []
    for arguments in commands("Backfill"):
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
    stream, _, history = commands("Incremental messages")
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
