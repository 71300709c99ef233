"""The example jobs, as a person would start them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable

from scorestream.infra.config.settings import PROJECT_ROOT
from tools.testkit.connect_server import ENVIRONMENT, SPARK_SUBMIT
from tools.testkit.golden import broken_records, differences, golden_records, golden_wallets
from tools.testkit.installation import QUICK_START, Installation

pytestmark = [pytest.mark.broker, pytest.mark.spark]


def run_example(installation: Installation, output: Path) -> None:
    jars = ",".join(str(jar) for jar in sorted((PROJECT_ROOT / ".jars" / "spark").glob("*.jar")))
    done = subprocess.run(
        [
            *(SPARK_SUBMIT, "--jars", jars, *QUICK_START.split(maxsplit=1)),
            *("--conf", "spark.ui.enabled=false", str(PROJECT_ROOT / "examples/plain_stream.py")),
            *("--bootstrap-servers", installation.bootstrap_servers),
            *("--topic", installation.input_topic, "--output", str(output), "--available-now"),
        ],
        env=os.environ | ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]


def test_the_plain_stream_gives_each_message_one_row(
    installation: Installation, tmp_path: Path
) -> None:
    golden, broken = golden_records(), broken_records()
    output = tmp_path / "table"
    installation.publish([*golden[:40], *broken])
    run_example(installation, output)
    installation.publish(golden[40:])
    run_example(installation, output)
    rows: list[dict[str, Any]] = DeltaTable(output).to_pyarrow_table().to_pylist()
    assert len({(row["partition"], row["offset"]) for row in rows}) == len(rows)
    scores = {(r["wallet_address"], r["as_of"]): r for r in rows if r["error_code"] is None}
    assert len(scores) == len(golden)
    for each in golden_wallets():
        assert differences(scores[each.wallet, each.as_of], each.expected) == []
    rejected = [row["rejected"] for row in rows if row["error_code"]]
    assert sorted(value or b"" for value in rejected) == sorted(
        record.value or b"" for record in broken
    )
