"""Several scorings, one of two categories with a scorer of another package, by the commands."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from scorestream.infra.config.settings import PROJECT_ROOT
from scorestream.infra.kafka.producer import Record
from tools.testkit.golden import Golden, differences, golden_wallets
from tools.testkit.installation import Installation
from tools.testkit.scorer_package import install_scorer

pytestmark = pytest.mark.broker

LOANS = {"protocolType": "lending", "transactions": [{"timestamp": 1_600_000_000, "repaid": True}]}
BAD_LOANS = {"protocolType": "lending", "transactions": [{"timestamp": 1_600_000_000}]}
BOTH = """
name: both
categories:
  dexes: {scoring: dex-v1, weight: 3}
  lending: {scoring: lending-v1, weight: 1}
"""
SCORINGS = ("--scoring", "both,dex-v1")


def plain(golden: Golden) -> bool:
    return '"lending"' not in json.dumps(golden.message)


GOLDEN = [golden for golden in golden_wallets() if plain(golden)][:6]


def messages() -> list[dict[str, Any]]:
    """Golden wallets, half of them with loans; the last with loans that are none."""
    more = [[LOANS], [], [LOANS], [], [LOANS], [BAD_LOANS]]
    return [
        golden.message | {"data": [*golden.message["data"], *entries]}
        for golden, entries in zip(GOLDEN, more, strict=True)
    ]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Where a scorer of lending is installed, and its constants are."""
    install_scorer(tmp_path / "packages", "lending_scorer", "tools.testkit.lending:Lending")
    shutil.copytree(PROJECT_ROOT / "conf", tmp_path / "conf")
    folder = tmp_path / "conf" / "scoring"
    (folder / "lending-v1.yaml").write_text("name: lending-v1\npoints_each: 5\n", encoding="utf-8")
    (folder / "both.yaml").write_text(BOTH, encoding="utf-8")
    path = os.pathsep.join([str(PROJECT_ROOT), str(tmp_path / "packages")])
    return {"PYTHONPATH": path, "SCORESTREAM_CONF": str(tmp_path / "conf")}


def scores_of(rows: list[dict[str, Any]]) -> dict[tuple[str, str], str]:
    """(wallet, scoring) -> zscore and categories."""
    return {
        (row["wallet_address"], row["scoring"]): " ".join(
            [str(row["zscore"]), *dict(row["categories"])]
        )
        for row in rows
    }


def test_stream_backfill_and_command_give_the_same_by_all_scorings(
    installation: Installation, environment: dict[str, str], tmp_path: Path
) -> None:
    values = [json.dumps(message).encode() for message in messages()]
    moments = [golden.as_of for golden in GOLDEN]
    installation.publish(
        [Record(None, v, at * 1000) for v, at in zip(values, moments, strict=True)]
    )
    code, _, err = installation.run("stream_scores", "--available-now", *SCORINGS, **environment)
    assert code == 0, err[-4000:]
    check_stored(installation)
    check_published(installation)

    lines = tmp_path / "messages.jsonl"
    dated = [{"as_of": at, "message": m} for at, m in zip(moments, messages(), strict=True)]
    lines.write_text("".join(json.dumps(line) + "\n" for line in dated), encoding="utf-8")
    backfilled = Installation(tmp_path / "backfill", installation.bootstrap_servers)
    job = ("backfill_scores", "--input", str(lines), "--as-of", "record", *SCORINGS)
    code, out, err = backfilled.run(*job, **environment)
    assert code == 0, err[-4000:]
    assert "11 scores, 1 rejects" in out
    streamed = scores_of(installation.rows("scores"))
    assert scores_of(backfilled.rows("scores")) == streamed

    done = subprocess.run(
        [sys.executable, "-m", "scorestream", "score", str(lines), *SCORINGS, "--format", "json"],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert scores_of([json.loads(line) for line in done.stdout.splitlines()]) == streamed
    assert "messages.jsonl:6: invalid_field by both: data[" in done.stderr

    code, _, err = backfilled.run(*job, **environment, WALLET_MESSAGES="incremental")
    assert code == 2
    assert "the history is of dexes, and --scoring needs lending, too" in err


def check_stored(installation: Installation) -> None:
    scores = installation.rows("scores")
    for row in scores:
        [golden] = [each for each in GOLDEN if each.wallet == row["wallet_address"]]
        if row["scoring"] == "dex-v1":
            assert differences(row, golden.expected) == []
            assert row["repayment_score"] is None
        elif row["repayment_score"] is not None:
            expected = (3 * golden.expected["final_score"] + 5.0) / 4
            assert row["final_score"] == pytest.approx(expected, rel=1e-12)
    found = [len(row["categories"]) for row in scores if row["scoring"] == "both"]
    assert sorted(found) == [1, 1, 2, 2, 2]
    [reject] = installation.rows("rejects")
    assert reject["error"].endswith("object missing required field `repaid`")
    what = (reject["wallet_address"], reject["scoring"], reject["category"])
    assert what == (GOLDEN[-1].wallet, "both", "lending")


def check_published(installation: Installation) -> None:
    settings = installation.settings
    rows = {(row["wallet_address"], row["scoring"]): row for row in installation.rows("scores")}
    for published in installation.messages(settings.kafka_success_topic):
        message = published.value
        row = rows.pop((message["wallet_address"], message["scoring"]))
        categories = {each["category"]: each for each in message["categories"]}
        assert {name: each["score"] for name, each in categories.items()} == {
            name: found["score"] for name, found in row["categories"]
        }
        if "lending" in categories:
            assert categories["lending"]["features"] == {
                "num_loans": 1,
                "borrowed_usd": 0.0,
                "repayment_score": 5.0,
                "final_score": 5.0,
            }
            assert "num_loans" not in categories["dexes"]["features"]
    assert rows == {}
    [failed] = installation.messages(settings.kafka_failure_topic)
    assert (failed.value["scoring"], failed.value["categories"][0]["category"]) == (
        "both",
        "lending",
    )
