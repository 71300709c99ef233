"""Wallet models from generated histories: examples, trainings, promotion, scores."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from deltalake import DeltaTable, write_deltalake
from pyspark.sql import SparkSession

from scorestream.infra.config.settings import PROJECT_ROOT, Settings
from scorestream.infra.delta.warehouse import Warehouse
from scorestream.infra.errors import ConfigurationError, InputError
from scorestream.infra.mlflow.model_copies import ModelCopies
from scorestream.infra.mlflow.store import ModelStore
from scorestream.tabular.drift.job import DriftOptions, check_drift
from scorestream.tabular.inference.job import ApplyOptions, explain_table, score_table
from scorestream.tabular.model.families.forest import Forest
from scorestream.tabular.registry.loading import load
from scorestream.tabular.registry.tracking import list_past_runs
from scorestream.tabular.training.runs.promotion import promote_model, rollback_model
from scorestream.wallets.core.scoring import Scoring
from scorestream.wallets.datasets.generated.messages import (
    GenerateOptions,
    generate_wallets,
    truth_path,
)
from scorestream.wallets.datasets.job import ExamplesOptions, make_examples
from scorestream.wallets.predictors.apply import MODEL_COLUMNS, predict_values
from scorestream.wallets.schema.views import CATALOG
from tools.local.samples import record_of
from tools.testkit.analysed import write
from tools.testkit.models import (
    SMALL,
    read_table,
    registry_of,
    run_of,
    settings_of,
    train,
)
from tools.testkit.wallets import DAY, UNTIL

pytestmark = pytest.mark.spark

MODELS = PROJECT_ROOT / "conf" / "models"
ANOMALY, RETENTION = MODELS / "wallet_anomaly.yaml", MODELS / "wallet_retention.yaml"
MONTH = 30 * DAY
MOMENTS = tuple(UNTIL - MONTH * months for months in (3, 2, 1))
WALLETS = 400
FEW_TREES = "candidates.forest.params={n_estimators: 60}"
BOOSTED = (
    "candidates={trees: {family: lightgbm, params: {n_estimators: 50, num_leaves: 6}}}",
    "blend=[]",
)


@pytest.fixture(scope="module")
def made(
    spark: SparkSession, scoring: Scoring, tmp_path_factory: pytest.TempPathFactory
) -> Settings:
    """A warehouse with the history of generated wallets, their examples, and both models."""
    folder = tmp_path_factory.mktemp("wallets")
    settings = settings_of(folder)
    output = str(folder / "wallets.jsonl")
    generate_wallets(GenerateOptions(WALLETS, 150, 1, UNTIL, output))
    warehouse = Warehouse(settings.warehouse, CATALOG)
    warehouse.create_tables()
    lines = Path(output).read_text().splitlines()
    write(warehouse, scoring, [record_of(json.loads(line)) for line in lines], 0)
    make_examples(ExamplesOptions(MOMENTS, MONTH, truth=str(truth_path(output))), settings)
    train(settings, ANOMALY, *SMALL, FEW_TREES, "thresholds={}")
    train(settings, RETENTION, *SMALL, *BOOSTED, "thresholds={}")
    return settings


def examples(settings: Settings) -> pa.Table:
    return read_table(f"{settings.warehouse}/training/wallets")


def test_every_wallet_is_an_example_at_each_cutoff_it_has_lived_to_see(made: Settings) -> None:
    found = examples(made)
    pairs = set(zip(found["wallet_key"].to_pylist(), found["as_of"].to_pylist(), strict=True))
    assert len(pairs) == found.num_rows
    first = pc.min_max(read_table(f"{made.warehouse}/transactions")["timestamp"])["min"].as_py()
    assert first < MOMENTS[0]
    rows = read_table(f"{made.warehouse}/transactions").to_pandas()
    starts = rows.groupby("wallet_key")["timestamp"].min()
    assert pairs == {(key, t) for key, start in starts.items() for t in MOMENTS if start <= t}
    assert found["behaviour"].null_count == 0


def test_examples_made_anew_take_the_place_of_the_old_ones(made: Settings) -> None:
    before = examples(made).drop_columns("behaviour")
    keys = [("as_of", "ascending"), ("wallet_key", "ascending")]
    other = ExamplesOptions(MOMENTS, MONTH, "training/others")
    for _ in range(2):
        make_examples(other, made)
    table = DeltaTable(f"{made.warehouse}/training/others")
    found = read_table(f"{made.warehouse}/training/others")
    assert found["behaviour"].null_count == found.num_rows
    assert found.drop_columns("behaviour").sort_by(keys).equals(before.sort_by(keys))
    assert table.version() == 2


def test_wallets_that_were_not_seen_to_the_end_are_told(
    spark: SparkSession, scoring: Scoring, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings, output = settings_of(tmp_path), str(tmp_path / "wallets.jsonl")
    generate_wallets(GenerateOptions(20, 150, 1, UNTIL, output))
    lines = [json.loads(line) for line in Path(output).read_text().splitlines()]
    warehouse = Warehouse(settings.warehouse, CATALOG)
    warehouse.create_tables()
    # The last messages of one in four are a day too old for the labels of the last cutoff.
    seen = [line | {"as_of": UNTIL - (place % 4 == 0) * DAY} for place, line in enumerate(lines)]
    write(warehouse, scoring, [record_of(line) for line in seen], 0)
    capsys.readouterr()
    make_examples(ExamplesOptions(MOMENTS[-1:], MONTH), settings)
    assert "25.0% of the wallets have no message since 2026-01-01" in capsys.readouterr().out
    make_examples(ExamplesOptions(MOMENTS[:1], MONTH), settings)
    assert "have no message since" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        (ExamplesOptions((UNTIL - DAY,), MONTH), InputError, "known until 2026-01-01.*2025-12-02"),
        (ExamplesOptions(MOMENTS, 2 * MONTH), ConfigurationError, "give a longer --every"),
        (ExamplesOptions((1_000_000_000,), MONTH), InputError, "no example: .*2001-09-09"),
        (ExamplesOptions(MOMENTS, MONTH, truth="gone.csv"), InputError, "gone.csv: no such file"),
        (
            ExamplesOptions(MOMENTS, MONTH, truth=str(PROJECT_ROOT / "samples" / "swaps.csv")),
            InputError,
            "no column behaviour, wallet_address",
        ),
    ],
)
def test_what_cannot_be_made_is_one_clear_error(
    options: ExamplesOptions, error: type[Exception], text: str, made: Settings
) -> None:
    before = examples(made)
    with pytest.raises(error, match=text):
        make_examples(options, made)
    assert examples(made).equals(before)


def test_a_training_judges_the_latest_cutoff_and_tells_of_the_baselines(made: Settings) -> None:
    last = pc.sum(pc.equal(examples(made)["as_of"], MOMENTS[-1])).as_py()
    wanted = {"wallet-anomaly": "average_precision", "wallet-retention": "log_loss"}
    baselines = {
        "wallet-anomaly": {"chance", "transaction_count", "swaps_a_day", "swaps_a_week"},
        "wallet-retention": {"base_rate", "active_before", "days_since_last"},
    }
    for name, metric in wanted.items():
        [run] = list_past_runs(ModelStore.of(made), name)
        told = {f"baseline.{baseline}.{metric}" for baseline in baselines[name]}
        assert {metric, *told} <= run.metrics.keys()
        files = run_of(made, registry_of(made).resolve(name))
        assert f'"held_out": {last}' in files.read_file("profile.json").decode()
        assert files.read_file("plots/importance.png").startswith(b"\x89PNG")
    anomaly, retention = (list_past_runs(ModelStore.of(made), name)[0].metrics for name in wanted)
    assert anomaly["roc_auc"] > 0.8
    assert anomaly["average_precision"] > 2 * anomaly["baseline.chance.average_precision"]
    assert retention["log_loss"] < retention["baseline.base_rate.log_loss"]


def test_models_are_promoted_rolled_back_and_score_tables(made: Settings, tmp_path: Path) -> None:
    path = f"{made.warehouse}/training/wallets"
    registry = registry_of(made)
    train(made, ANOMALY, *SMALL, FEW_TREES, "search.seed=8", "thresholds={}")
    train(made, RETENTION, *SMALL, *BOOSTED, "search.seed=8", "thresholds={}")
    for name in ("wallet-anomaly", "wallet-retention"):
        promote_model(name, 2, made)
        assert registry.resolve(name).version == 2
        rollback_model(name, made)
        assert registry.resolve(name).version == 1
        out = str(tmp_path / f"{name}.parquet")
        score_table(ApplyOptions(f"{name}@champion", path, out), made)
        scored = read_table(out)
        column = "prediction" if name == "wallet-anomaly" else "probability"
        values = np.asarray(scored[column])
        assert scored["error"].null_count == scored.num_rows == examples(made).num_rows
        assert 0 < values.min() < values.max() < 1
        check_drift(DriftOptions(name, path), made)


def test_the_stream_gives_the_values_that_tables_get(made: Settings, tmp_path: Path) -> None:
    found, copies = examples(made), ModelCopies(made)
    for name, column in (("wallet-anomaly", "prediction"), ("wallet-retention", "probability")):
        version = copies.resolve(f"{name}@champion")
        copies.fetch(version)
        out = str(tmp_path / f"{name}.parquet")
        score_table(ApplyOptions(name, f"{made.warehouse}/training/wallets", out), made)
        values = predict_values(version, found.select(MODEL_COLUMNS))
        assert values.equals(read_table(out)[column].combine_chunks())


def test_the_reasons_of_an_anomaly_sum_to_its_score(made: Settings, tmp_path: Path) -> None:
    path, out = f"{made.warehouse}/training/wallets", str(tmp_path / "explained.parquet")
    explain_table(ApplyOptions("wallet-anomaly", path, out), made)
    rows = read_table(out).to_pandas()
    terms = rows[[name for name in rows.columns if name.startswith("term_")]]
    assert np.abs(rows["start"] + terms.sum(axis=1) - rows["prediction"]).max() < 1e-9
    highest = rows.loc[rows["prediction"].idxmax()]
    assert "swaps a day beyond" in highest["reasons"]
    assert highest["num_swaps"] > rows["num_swaps"].median()


def test_an_anomaly_model_needs_no_truth_and_then_is_promoted_by_hand(
    made: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = settings_of(tmp_path)
    unlabelled = examples(made).drop_columns("behaviour")
    write_deltalake(f"{settings.warehouse}/training/wallets", unlabelled)
    train(settings, ANOMALY, *SMALL, FEW_TREES)
    told = capsys.readouterr().out
    assert "wallet-anomaly/1 is the challenger: average_precision is not defined" in told
    [run] = list_past_runs(ModelStore.of(settings), "wallet-anomaly")
    assert "average_precision" not in run.metrics
    assert 0.4 < run.metrics["flag_above"] < 1
    promote_model("wallet-anomaly", 1, settings)
    model = load(ModelStore.of(settings), registry_of(settings).resolve("wallet-anomaly")).tabular
    assert isinstance(model.parts[0].fitted, Forest)


def test_more_rows_than_one_process_shall_hold_are_sampled(made: Settings) -> None:
    train(made, ANOMALY, *SMALL, FEW_TREES, "thresholds={}", "collect_at_most=400")
    run = list_past_runs(ModelStore.of(made), "wallet-anomaly")[0]
    assert run.tags["source"] == "training/wallets (a sample)"
    [model, *_] = registry_of(made).versions("wallet-anomaly")
    assert 200 < int(model.tags["rows"]) < 600 < examples(made).num_rows


def test_a_model_that_shall_beat_a_baseline_and_does_not_is_a_challenger(
    made: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    oracle = "baselines={oracle: CAST(active_later AS BOOLEAN)}"
    before = registry_of(made).resolve("wallet-retention")
    train(made, RETENTION, *SMALL, *BOOSTED, oracle, "thresholds={beats_baselines: true}")
    last = capsys.readouterr().out.splitlines()[-1]
    assert re.search(r" is the challenger: log_loss \S+ does not beat \S+ of baseline oracle", last)
    assert registry_of(made).resolve("wallet-retention") == before
