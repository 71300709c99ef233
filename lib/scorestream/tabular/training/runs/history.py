"""`model_history`: the trainings of a model, and its champion."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, Literal

from rich.console import Console
from rich.table import Table as TextTable

from scorestream.infra.config.settings import Settings
from scorestream.infra.display import cell, heading
from scorestream.infra.errors import ModelError
from scorestream.infra.mlflow.registry import CHAMPION, RegisteredVersion, Registry
from scorestream.infra.mlflow.store import ModelStore
from scorestream.tabular.registry.tracking import PastRun, list_past_runs

Format = Literal["table", "json"]


def model_history(name: str, form: Format, settings: Settings) -> None:
    """Print the trainings of a model, the newest first, and which version is the champion.

    Raises:
        ModelError: it was never trained.
    """
    store = ModelStore.of(settings)
    runs = list_past_runs(store, name)
    versions = {version.run_id: version for version in Registry(store).versions(name)}
    if not runs and not versions:
        raise ModelError(f"model {name}: was never trained; the store is {store.shown}")
    rows = [_row(run, versions.get(run.run_id)) for run in runs]
    if form == "json":
        for row in rows:
            print(json.dumps(row))
        return
    _print_table(rows)
    serving = next((v for v in versions.values() if CHAMPION in v.aliases), None)
    print(f"serving: {serving}" if serving else "serving: none")


def _row(run: PastRun, version: RegisteredVersion | None) -> dict[str, Any]:
    held_out = {k: v for k, v in run.metrics.items() if not k.startswith("cv_")}
    return {
        "trained": datetime.fromtimestamp(run.started / 1000, UTC).isoformat(timespec="seconds"),
        "version": version.version if version else None,
        "aliases": list(version.aliases) if version else [],
        "status": run.status,
        "metrics": held_out,
        "data_version": run.tags.get("data_version"),
        "source": run.tags.get("source"),
        "code_version": run.tags.get("code_version"),
        "verdict": run.tags.get("verdict"),
        "run_id": run.run_id,
    }


def _print_table(rows: list[dict[str, Any]]) -> None:
    metrics = list(dict.fromkeys(name for row in rows for name in row["metrics"]))
    ours = ("trained", "version", "alias"), ("data version", "code", "verdict")
    table = TextTable(*ours[0], *map(heading, metrics), *ours[1])
    for row in rows:
        values = [row["metrics"].get(name) for name in metrics]
        table.add_row(
            row["trained"],
            str(row["version"] or row["status"].lower()),
            cell(", ".join(row["aliases"])),
            *("" if value is None else f"{value:.4g}" for value in values),
            *(cell(row[name] or "") for name in ("data_version", "code_version", "verdict")),
        )
    Console(width=240).print(table)
