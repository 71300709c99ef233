"""A warehouse in an object store: a backfill that is killed, compaction, statements, forgetting."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from scorestream.infra.storage.filesystem import exists
from tools.local.broker import LocalBroker
from tools.testkit.go_programs import has_go
from tools.testkit.increments import eligible
from tools.testkit.installation import Installation, kill_group, wait_until
from tools.testkit.object_store import BUCKET, s3_store

pytestmark = [
    pytest.mark.broker,
    pytest.mark.skipif(not has_go(), reason="needs Go, of which the store's server is built"),
]


@pytest.fixture
def over_s3(broker: LocalBroker, tmp_path: Path) -> Iterator[Installation]:
    """An installation whose warehouse is in an S3 store."""
    with s3_store(tmp_path / "s3"):
        models = {"MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db"}
        store = f"s3a://{BUCKET}"
        yield Installation(tmp_path, broker.bootstrap_servers, models, store=store)


def test_backfill_compaction_and_forgetting_over_s3(over_s3: Installation, tmp_path: Path) -> None:
    wallets = eligible()
    lines = tmp_path / "wallets.jsonl"
    dated = [{"as_of": golden.as_of, "message": golden.message} for golden in wallets]
    lines.write_text("\n".join(map(json.dumps, dated)), encoding="utf-8")
    backfill = ("backfill_scores", "--input", str(lines), "--as-of", "record", "--run-id", "r1")

    # Killed once its plan is written, it goes on where it was.
    process = over_s3.start(*backfill)
    plan = f"{over_s3.settings.warehouse}/_checkpoints/backfill_scores/r1.json"
    wait_until(lambda: exists(plan))
    kill_group(process)
    process.communicate()
    run(over_s3, *backfill)
    scored = {row["wallet_address"] for row in over_s3.rows("scores")}
    assert len(over_s3.rows("scores")) == len(scored) == len(wallets)

    run(over_s3, "compact_tables", "--cluster-percent", "0")
    found = json.loads(
        run(over_s3, "query", "SELECT count(*) AS n FROM latest_scores", "--format", "json")
    )
    assert found == {"n": len(wallets)}

    forgotten = min(scored)
    run(over_s3, "forget", "--wallet", forgotten, "--purge", "--wait", "1")
    assert {row["wallet_address"] for row in over_s3.rows("scores")} == scored - {forgotten}
    # The store's own files: none that any version had holds the wallet.
    files = list((tmp_path / "s3" / BUCKET).rglob("*.parquet"))
    assert files
    for file in files:
        columns = pq.read_schema(file).names
        if "wallet_address" in columns:
            held = pq.read_table(file, columns=["wallet_address"])["wallet_address"].to_pylist()
            assert forgotten not in held, file


def run(installation: Installation, *arguments: str) -> str:
    code, out, err = installation.run(*arguments)
    assert code == 0, err[-4000:]
    return out
