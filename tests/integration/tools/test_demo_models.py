"""What `make demo` shows of wallet models, without its broker: trained, applied, explained."""

from __future__ import annotations

from dataclasses import replace

import pytest
from rich.console import Console

from scorestream.infra.config.settings import Settings
from scorestream.infra.delta.duckdb_reader import connect, refresh
from scorestream.infra.delta.warehouse import Warehouse
from scorestream.wallets.core.scoring import Scoring
from scorestream.wallets.execution.scoring_task import commit_files, score_records, write_scored
from scorestream.wallets.execution.table_rows import BatchFacts
from scorestream.wallets.predictors.active_models import ActiveModels
from scorestream.wallets.predictors.config import load_wallet_models
from scorestream.wallets.predictors.events import NoModelEvents
from scorestream.wallets.schema.tables import SCORES
from scorestream.wallets.schema.views import CATALOG
from tools.local import demo_models
from tools.local.demo_models import (
    CONFIGURATIONS,
    SHOWN,
    WALLET_MODELS,
    demo_settings,
    show_models,
    train_lacking,
)
from tools.testkit.golden import golden_records
from tools.testkit.models import registry_of, settings_of
from tools.testkit.records import records_of

SCORED_AT = 1_767_323_045.0


@pytest.fixture(scope="module")
def settings(scoring: Scoring, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A warehouse with golden wallets, which models trained on fewer wallets have judged."""
    made = settings_of(tmp_path_factory.mktemp("demo"))
    warehouse = Warehouse(made.warehouse, CATALOG)
    warehouse.create_tables()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo_models, "WALLETS", replace(demo_models.WALLETS, wallets=300))
        assert train_lacking(made) == list(CONFIGURATIONS)
    listed = load_wallet_models(made.model_copy(update={"wallet_models": WALLET_MODELS}))
    active_models = ActiveModels(listed, made, NoModelEvents())
    active_models.start()
    facts = BatchFacts(
        "run", 0, SCORED_AT, code_version="1", models=tuple(active_models.batch_models)
    )
    scored = score_records([records_of(golden_records())], (scoring,), include_transactions=True)
    report = write_scored(scored, warehouse.root, facts, include_transactions=True)
    commit_files(warehouse, report.files, ("run", 0))
    return made


def shown(settings: Settings, since: float) -> str:
    console = Console(record=True, width=200)
    with connect(CATALOG) as sql:
        refresh(sql, Warehouse(settings.warehouse, CATALOG), "SELECT * FROM scores")
        show_models(settings, sql, since, console)
    return console.export_text()


def test_what_serves_is_not_trained_again(settings: Settings) -> None:
    assert train_lacking(settings) == []
    assert {registry_of(settings).resolve(name).version for name in CONFIGURATIONS} == {1}


def test_the_highest_values_are_shown_with_reasons(settings: Settings) -> None:
    told = shown(settings, SCORED_AT - 1)
    rows = Warehouse(settings.warehouse, CATALOG).rows(SCORES)
    for name in CONFIGURATIONS:
        assert f"highest {name}" in told
        values = sorted((dict(row["models"])[name]["value"] for row in rows), reverse=True)
        assert all(f"{value:.3f}" in told for value in values[:SHOWN])
    assert "swaps a day beyond" in told
    assert "log-odds of staying" in told


def test_scores_of_before_are_not_shown(settings: Settings) -> None:
    wallets = {
        row["wallet_address"][:8] for row in Warehouse(settings.warehouse, CATALOG).rows(SCORES)
    }
    told = shown(settings, SCORED_AT + 1)
    assert not any(wallet in told for wallet in wallets)


def test_the_demo_leaves_other_registries_alone(settings: Settings) -> None:
    elsewhere = settings.model_copy(update={"mlflow_tracking_uri": "http://127.0.0.1:9"})
    assert demo_settings(elsewhere).tracking_uri == settings.tracking_uri
