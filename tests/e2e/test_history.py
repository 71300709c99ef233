"""The commands of docs/history.md, as they are written there."""

from __future__ import annotations

import re
import shlex

import pytest

from installation import Installation
from scorestream.settings import PROJECT_ROOT

pytestmark = [pytest.mark.spark, pytest.mark.broker]

PAGE = (PROJECT_ROOT / "docs" / "history.md").read_text(encoding="utf-8")


def commands(section: str) -> list[list[str]]:
    """The arguments of spark-submit.sh in a section's commands."""
    text = PAGE.split(f"\n## {section}\n")[1].split("\n## ")[0]
    lines = re.findall(r"^\./spark-submit\.sh (.+)$", text, re.MULTILINE)
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
