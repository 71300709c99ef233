"""Which models are applied, and what becomes of their values."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from scorestream.infra.config.settings import PROJECT_ROOT, Settings
from scorestream.infra.errors import ConfigurationError, ModelError
from scorestream.infra.kafka.producer import Record
from scorestream.infra.mlflow.model_version import Version
from scorestream.infra.mlflow.store import ModelStore
from scorestream.wallets.core.pipeline import Scored, score_messages
from scorestream.wallets.core.scoring import Scoring
from scorestream.wallets.execution.result_messages import success_records
from scorestream.wallets.execution.table_rows import BatchFacts, table_rows
from scorestream.wallets.predictors.apply import (
    MODEL_COLUMNS,
    ModelApplier,
    build_model_input,
    build_models_column,
    predict_by_halves,
)
from scorestream.wallets.predictors.config import FILE, WalletModel, load_wallet_models
from scorestream.wallets.schema.columns import MODELS
from scorestream.wallets.schema.tables import SCORES
from scorestream.wallets.scorers.dex_v1.scorer import DexV1
from tools.testkit.golden import golden_wallets
from tools.testkit.message_schemas import validator
from tools.testkit.records import records_of

DAY = 86_400


def listed(folder: Path, text: str) -> tuple[WalletModel, ...]:
    (folder / FILE).write_text(text, encoding="utf-8")
    return load_wallet_models(Settings(scorestream_conf=folder))


def test_models_are_listed_by_reference_and_what_to_do_without_them(tmp_path: Path) -> None:
    models = listed(tmp_path, "models: [a, b/3, {model: c@new, on_missing: skip}]")
    assert [(m.name, m.model, m.on_missing) for m in models] == [
        ("a", "a", "fail"),
        ("b", "b/3", "fail"),
        ("c", "c@new", "skip"),
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("models: [a b]", "models.0.model"),
        ("models: [{model: a, on_missing: ignore}]", "on_missing"),
        ("models: [{model: a, alias: b}]", "alias"),
        ("models: [a@champion, a/3]", "a: listed twice"),
        ("model: [a]", "model"),
        ("models: a", "models"),
        ("models: [", "cannot be read"),
    ],
)
def test_what_is_wrong_with_the_list_is_told_with_its_place(
    text: str, told: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match=FILE) as failed:
        listed(tmp_path, text)
    assert told in str(failed.value)


def test_the_setting_stands_in_for_the_file(tmp_path: Path) -> None:
    listed(tmp_path, "models: [a]")
    settings = Settings(scorestream_conf=tmp_path, wallet_models="b@new, c,")
    assert [model.model for model in load_wallet_models(settings)] == ["b@new", "c"]
    assert load_wallet_models(Settings(scorestream_conf=tmp_path, wallet_models="none")) == ()
    wrong = Settings(scorestream_conf=tmp_path, wallet_models="b@@")
    with pytest.raises(ConfigurationError, match="WALLET_MODELS"):
        load_wallet_models(wrong)


def test_without_a_file_there_are_none(tmp_path: Path) -> None:
    assert load_wallet_models(Settings(scorestream_conf=tmp_path)) == ()
    assert load_wallet_models(Settings(scorestream_conf=PROJECT_ROOT / "conf")) == ()


@pytest.fixture
def scored(scoring: Scoring) -> Scored:
    golden = golden_wallets()[:3]
    moments = np.array([g.as_of for g in golden])
    return score_messages([g.value for g in golden], moments, (scoring,))


def test_models_see_the_features_and_scores_of_every_wallet(scored: Scored) -> None:
    rows = build_model_input(scored.scores)
    assert tuple(rows.column_names) == MODEL_COLUMNS
    for row, score in zip(rows.to_pylist(), scored.scores.to_pylist(), strict=True):
        names = ("lp_score", "swap_score", "transaction_count")
        expected = score["features"] | {name: score[name] for name in names}
        days = {
            f"days_since_{end}": (score["as_of"] - score[f"{end}_transaction_at"].timestamp()) / DAY
            for end in ("first", "last")
        }
        assert row == expected | {"zscore": score["final_score"]} | days
    kinds = {feature.name: feature.type for feature in DexV1.declaration.features}
    assert {name: rows.schema.field(name).type for name in kinds} == kinds


def test_days_never_count_what_comes_after_the_moment(scoring: Scoring) -> None:
    golden = golden_wallets()[0]
    value, moments = golden.value, np.array([golden.as_of, golden.as_of + DAY, 0])
    rows = build_model_input(
        score_messages([value] * 3, moments, (scoring,)).scores.sort_by("position")
    )
    for name in ("days_since_first", "days_since_last"):
        now, a_day_later, before_all = rows[name].to_pylist()
        assert a_day_later == pytest.approx(now + 1)
        assert before_all == 0


def test_values_stand_in_the_row_and_the_message_of_their_wallet(
    scored: Scored, scoring: Scoring
) -> None:
    one, two = Version("one", "7", ""), Version("two", "1", "")
    found = [(one, pa.array([0.5, None, 1.5])), (two, pa.array([10.0, 20.0, 30.0]))]
    column = build_models_column(found, 3)
    assert column.type == MODELS
    scores = scored.scores.append_column("models", column)
    records = records_of([Record(None, b"", 0)] * 3, 0)
    facts = BatchFacts("run", 0, 1.7e9, code_version="1")
    rows = table_rows(replace(scored, scores=scores), records, facts)[SCORES]
    sent = list(success_records(rows))
    values = [json.loads(record.value or b"") for record in sent]
    assert [value["models"] for value in values] == [
        {"one": {"version": "7", "value": 0.5}, "two": {"version": "1", "value": 10.0}},
        {"one": {"version": "7", "value": None}, "two": {"version": "1", "value": 20.0}},
        {"one": {"version": "7", "value": 1.5}, "two": {"version": "1", "value": 30.0}},
    ]
    for value, record in zip(values, sent, strict=True):
        assert list(validator("wallet-scores-success").iter_errors(value)) == []
        assert {("model-one", b"7"), ("model-two", b"1")} <= set(record.headers)


def test_without_models_nothing_changes(scored: Scored) -> None:
    with ModelApplier(()) as applier:
        assert applier.apply(scored) is scored
    assert build_models_column([], 3).to_pylist() == [[], [], []]


def test_without_models_mlflow_is_not_imported() -> None:
    code = (
        "import sys, scorestream.wallets.stream.job, scorestream.wallets.backfill.job;"
        "from scorestream.wallets.predictors.active_models import ActiveModels;"
        "from scorestream.wallets.predictors.events import NoModelEvents;"
        "from scorestream.infra.config.settings import Settings;"
        "models = ActiveModels((), Settings(), NoModelEvents()); models.start(); models.refresh();"
        "sys.exit('mlflow' in sys.modules or 'sklearn' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([1.0, 2.0, 3.0, 4.0], [2.0, 4.0, 6.0, 8.0]),
        ([1.0, -1.0, 3.0, 4.0, -1.0], [2.0, None, 6.0, 8.0, None]),
        ([*[5.0] * 1000, -1.0], [*[10.0] * 1000, None]),
    ],
)
def test_a_wallet_that_a_model_does_not_take_costs_no_other_its_value(
    given: list[float], expected: list[float | None]
) -> None:
    assert predict_by_halves(doubled, pa.table({"n": given})).to_pylist() == expected


@pytest.mark.parametrize("count", [1, 3, 1000])
def test_a_model_that_takes_no_wallet_has_failed(count: int) -> None:
    calls: list[int] = []

    def counted(rows: pa.Table) -> pa.Array:
        calls.append(rows.num_rows)
        return doubled(rows)

    with pytest.raises(ValueError, match=f"{count} rows"):
        predict_by_halves(counted, pa.table({"n": [-1.0] * count}))
    assert len(calls) <= 32


def doubled(rows: pa.Table) -> pa.Array:
    values = rows["n"].to_numpy()
    if values.min() < 0:
        raise ValueError(f"{len(values)} rows, one of them negative")
    return pa.array(values * 2)


def test_the_store_is_shown_without_what_could_be_a_password() -> None:
    store = ModelStore("postgresql://user:secret1@host/db?user=u&password=secret2", None)
    with pytest.raises(ModelError) as failed, store.errors("model x"):
        raise OSError(f"no way to {store.uri} or user:secret1@host")
    assert str(failed.value) == (
        "model x: no way to postgresql://host/db or host; the store is postgresql://host/db"
    )
