"""The same drain on a standalone cluster: one master and two workers of a core each."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from deltalake import DeltaTable

from scorestream.infra.config.settings import PROJECT_ROOT
from scorestream.infra.delta.table_features import arrow_dataset
from tools.benchmarks.machine import (
    Site,
    environment_of,
    fill,
    size_of,
)
from tools.benchmarks.workload import Workload
from tools.local.cluster import standalone_cluster

BATCHES = 4


def drain(site: Site, workload: Workload) -> dict[str, Any]:
    """Drain the workload in four batches; seconds of the last, when all JVMs are warm."""
    records = site.records(workload)
    settings = site.settings(include_transactions=False)
    fill(settings, records, partitions=4)
    limit = str(len(records) // BATCHES)
    with standalone_cluster(site.folder / "cluster") as url:
        done = subprocess.run(
            [
                str(PROJECT_ROOT / "spark-submit.sh"),
                "stream_scores",
                "--available-now",
                "--max-offsets-per-trigger",
                limit,
            ],
            env=environment_of(settings) | {"SPARK_MASTER": url, "LOG_LEVEL": "INFO"},
            stderr=subprocess.PIPE,
            text=True,
            check=True,
        )
    lines = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    batches = [line for line in lines if line.get("event") == "batch"]
    last = max(batches[1:] or batches, key=lambda batch: batch["rate"])
    scores = arrow_dataset(DeltaTable(f"{settings.warehouse}/scores")).to_table(["final_score"])
    return {
        "rate": last["rate"],
        "megabytes_a_second": last["rate"] * size_of(records) / len(records),
        "scores": scores.num_rows,
        "sum": float(sum(scores["final_score"].to_pylist())),
    }
