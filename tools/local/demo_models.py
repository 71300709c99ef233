"""The wallet models of the demo: trained on generated wallets, and what they say of others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from scorestream.infra.config.settings import Settings
from scorestream.infra.display import cell
from scorestream.infra.mlflow.registry import Registry
from scorestream.infra.mlflow.store import ModelStore
from scorestream.tabular.model.explain import explain_rows, reasons_of
from scorestream.tabular.registry.loading import load
from scorestream.tabular.training.job import TrainOptions, train_model
from scorestream.wallets.datasets.cutoffs import Cutoffs
from scorestream.wallets.datasets.generated.examples import Drawing, drawn_examples
from scorestream.wallets.execution.configured_scoring import load_scoring
from scorestream.wallets.predictors.apply import build_model_input
from scorestream.wallets.schema.views import CATALOG

CONFIGURATIONS: Final[Mapping[str, str]] = {
    "wallet-retention": "wallet_retention.yaml",
    "wallet-anomaly": "wallet_anomaly.yaml",
}
WALLET_MODELS: Final = ",".join(f"{name}@champion" for name in CONFIGURATIONS)
SHOWN: Final = 5
REASONS: Final = 2
_UNTIL: Final = 1_767_225_600
_MONTH: Final = 30 * 86_400
WALLETS: Final = Drawing(wallets=800, days=180, until=_UNTIL, seed=1)
CUTOFFS: Final = Cutoffs([_UNTIL - months * _MONTH for months in (4, 3, 2, 1)], _MONTH)
# What the baselines reach is told, and must not keep a model that saw little from being shown.
QUICK: Final = (
    *("search.trials=1", "search.folds=3", "search.repeats=1"),
    "thresholds.beats_baselines=false",
)
_HIGHEST: Final = """
SELECT *, map_extract(models, $1)[1].value AS value, map_extract(models, $1)[1].version AS version
FROM scores
WHERE epoch(scored_at) >= $2 AND map_extract(models, $1)[1].value IS NOT NULL
QUALIFY row_number() OVER (PARTITION BY wallet_key ORDER BY value DESC, source_offset) = 1
ORDER BY value DESC, wallet_key LIMIT $3
"""


def demo_settings(settings: Settings) -> Settings:
    """Settings whose models are below the warehouse: the demo leaves other registries alone."""
    return settings.model_copy(update={"mlflow_tracking_uri": None})


def train_lacking(settings: Settings) -> list[str]:
    """Train the models of which none serves yet, and name them."""
    registry = Registry(ModelStore.of(settings))
    lacking = [name for name in CONFIGURATIONS if registry.champion(name) is None]
    if lacking:
        rows = _examples(settings)
        for name in lacking:
            config = settings.scorestream_conf / "models" / CONFIGURATIONS[name]
            train_model(TrainOptions(config, str(rows), changes=QUICK), settings, CATALOG)
    return lacking


def _examples(settings: Settings) -> Path:
    """Examples of generated wallets, as a file."""
    conf = settings.scorestream_conf
    scoring = load_scoring(conf=conf)
    path = Path(settings.warehouse) / "_demo" / "generated_wallets.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(drawn_examples(WALLETS, CUTOFFS, scoring), path)
    return path


def show_models(
    settings: Settings, sql: duckdb.DuckDBPyConnection, since: float, console: Console
) -> None:
    """Print the wallets with the highest values since a moment (unix seconds), and why."""
    for name in CONFIGURATIONS:
        rows = sql.sql(_HIGHEST, params=[name, since, SHOWN]).to_arrow_table()
        table = Table("wallet", "value", "why", title=f"highest {name}", title_justify="left")
        for row in _describe_values(settings, name, rows):
            table.add_row(*map(cell, row))
        console.print(table)


def _describe_values(
    settings: Settings, name: str, scores: pa.Table
) -> Iterator[tuple[str, str, str]]:
    """Wallet, value and reasons of each row of `scores`, by the version that gave the value."""
    if not scores.num_rows:
        return
    store = ModelStore.of(settings)
    version = Registry(store).resolve(f"{name}/{scores['version'][0].as_py()}")
    model = load(store, version).tabular
    explained = explain_rows(model, build_model_input(scores))
    for place, row in enumerate(scores.select(["wallet_address", "value"]).to_pylist()):
        reasons = [r.text for r in reasons_of(model, explained, place)[:REASONS]]
        wallet = row["wallet_address"]
        yield f"{wallet[:8]}…{wallet[-6:]}", f"{row['value']:.3f}", "\n".join(reasons)
