"""Registered models in the stream and in backfills, with a real store, Spark and broker."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import generate_latest
from pydantic import SecretStr
from pyspark.sql import SparkSession

from scorestream.infra.delta.duckdb_reader import connect, refresh
from scorestream.infra.delta.warehouse import Warehouse
from scorestream.infra.errors import ModelError
from scorestream.infra.kafka.consumer import OffsetRange
from scorestream.infra.mlflow.model_copies import ModelCopies
from scorestream.wallets.backfill.job import run_backfill
from scorestream.wallets.backfill.planning import BackfillOptions
from scorestream.wallets.core.scoring import Scoring
from scorestream.wallets.predictors.active_models import ActiveModels
from scorestream.wallets.predictors.config import WalletModel
from scorestream.wallets.predictors.trial import TRIAL_SECONDS
from scorestream.wallets.schema.tables import SCORES
from scorestream.wallets.schema.views import CATALOG
from scorestream.wallets.stream.metrics import StreamMetrics
from tools.local.ports import HOST, free_port
from tools.testkit.golden import differences, golden_records, golden_wallets
from tools.testkit.installation import Installation
from tools.testkit.pyfuncs import register
from tools.testkit.streams import create_input_topic, open_delivery

pytestmark = [pytest.mark.spark, pytest.mark.broker]

RECORDS = golden_records()[:12]
GOLDEN = {(g.wallet, g.as_of): g.expected for g in golden_wallets()}
SWAPS = WalletModel(model="swaps")


class Stream:
    """A topic with the golden wallets, and batches of three of them with models."""

    def __init__(
        self,
        installation: Installation,
        spark: SparkSession,
        warehouse: Warehouse,
        scoring: Scoring,
        models: Sequence[WalletModel],
        *,
        incremental: bool = False,
        registry: SecretStr | None = None,
    ) -> None:
        changes = {
            "wallet_messages": "incremental" if incremental else "full",
            "mlflow_tracking_uri": registry,
        }
        self.settings = installation.settings.model_copy(update=changes)
        self.installation = installation
        self.warehouse = warehouse
        self.metrics = StreamMetrics()
        self.active_models = ActiveModels(
            models, self.settings, self.metrics, pause=0.0, patience=TRIAL_SECONDS
        )
        self.active_models.start()
        self.number = 0
        self.delivery, _ = open_delivery(
            self.settings, spark, warehouse, scoring, active_models=self.active_models
        )

    def batch(self) -> list[dict[str, Any]]:
        """Deliver the next three messages; their rows, by offset."""
        first = self.number * 3
        self.again(self.number)
        self.number += 1
        rows = [r for r in self.warehouse.rows(SCORES) if first <= r["source_offset"] < first + 3]
        assert len(rows) == 3
        for row in rows:
            assert differences(row, GOLDEN[row["wallet_address"], row["as_of"]]) == []
        return sorted(rows, key=lambda row: int(row["source_offset"]))

    def again(self, number: int) -> None:
        """Deliver a batch, or what it lacks."""
        topic, first = self.installation.input_topic, number * 3
        self.delivery.deliver([OffsetRange(topic, 0, first, first + 3)], "run", number)

    def metric(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(name, labels)


@pytest.fixture
def filled(installation: Installation, warehouse: Warehouse) -> Installation:
    """The records in partition 0 of the input topic, over empty tables."""
    create_input_topic(installation, partitions=1)
    installation.publish(RECORDS)
    assert warehouse.root == installation.settings.warehouse
    return installation


def values(rows: Sequence[dict[str, Any]], name: str = "swaps") -> list[tuple[str, Any] | None]:
    """Version and value of a model, a row each; None where the model is not named."""
    found = [dict(row["models"]).get(name) for row in rows]
    return [None if each is None else (each["version"], each["value"]) for each in found]


def swaps(rows: Sequence[dict[str, Any]], factor: float, version: str) -> list[tuple[str, float]]:
    return [(version, row["features"]["num_swaps"] * factor) for row in rows]


@pytest.mark.parametrize("incremental", [False, True])
def test_values_land_in_delta_and_kafka_and_a_promoted_version_serves_the_next_batch(
    *,
    incremental: bool,
    filled: Installation,
    spark: SparkSession,
    warehouse: Warehouse,
    scoring: Scoring,
    tmp_path: Path,
) -> None:
    settings = filled.settings
    register(settings, tmp_path, "swaps", "rows['num_swaps'] * 2.0", columns=("num_swaps",))
    register(settings, tmp_path, "some", "[None, *rows['zscore'][1:]]")
    some = WalletModel(model="some@champion")
    stream = Stream(filled, spark, warehouse, scoring, [SWAPS, some], incremental=incremental)
    first = stream.batch()
    assert values(first) == swaps(first, 2.0, "1")
    # One wallet of each Arrow batch has no value; that is no failure of it or of the model.
    assert all(each is not None for each in values(first, "some"))
    assert None in [each and each[1] for each in values(first, "some")]
    register(settings, tmp_path, "swaps", "rows['num_swaps'] * 3.0", columns=("num_swaps",))
    second = stream.batch()
    assert values(second) == swaps(second, 3.0, "2")
    assert stream.metric("scorestream_model_version", model="swaps") == 2.0
    assert stream.metric("scorestream_model_alarm", model="swaps") == 0.0
    assert stream.metric("scorestream_model_wallets_total", model="swaps") == 6.0
    published = filled.messages(settings.kafka_success_topic)
    stored = {row["source_offset"]: dict(row["models"]) for row in first + second}
    assert {m.value["source"]["offset"]: m.value["models"] for m in published} == stored
    assert {m.headers["model-swaps"] for m in published} == {b"1", b"2"}
    # As the documentation reads it, by both engines.
    statement = "SELECT wallet_address, models['swaps'].value FROM latest_scores"
    newest = {
        row["wallet_address"]: value
        for row, (_, value) in zip(
            first + second, swaps(first, 2.0, "1") + swaps(second, 3.0, "2"), strict=True
        )
    }
    assert dict(spark.sql(statement).collect()) == newest
    duck = connect(CATALOG)
    refresh(duck, warehouse, statement)
    assert dict(duck.execute(statement).fetchall()) == newest


def test_a_version_that_cannot_be_applied_never_serves(
    filled: Installation,
    spark: SparkSession,
    warehouse: Warehouse,
    scoring: Scoring,
    tmp_path: Path,
) -> None:
    register(filled.settings, tmp_path, "swaps", "rows['num_swaps'] * 2.0")
    stream = Stream(filled, spark, warehouse, scoring, [SWAPS])
    register(filled.settings, tmp_path, "swaps", "1 / 0")
    rows = stream.batch()
    assert values(rows) == swaps(rows, 2.0, "1")
    assert stream.metric("scorestream_model_alarm", model="swaps") == 1.0
    failures = stream.metric("scorestream_model_failures_total", model="swaps", kind="unloadable")
    assert failures == 1.0
    assert stream.metric("scorestream_model_version", model="swaps") == 1.0


def test_a_version_that_fails_in_a_batch_steps_back_behind_the_one_before(
    filled: Installation,
    spark: SparkSession,
    warehouse: Warehouse,
    scoring: Scoring,
    tmp_path: Path,
) -> None:
    good, only = "rows['num_swaps'] * 2.0", WalletModel(model="only")
    # It passes the trial, whose scores no other wallet has.
    bad = "rows['num_swaps'] * 1.0 if rows['zscore'].isin([1, 0, 600]).all() else 1 / 0"
    register(filled.settings, tmp_path, "swaps", good)
    register(filled.settings, tmp_path, "only", bad)
    stream = Stream(filled, spark, warehouse, scoring, [SWAPS, only])
    first = stream.batch()
    # With no version before it, its value lacks, and nothing else.
    assert values(first, "only") == [None] * 3
    register(filled.settings, tmp_path, "swaps", bad)
    second = stream.batch()
    third = stream.batch()
    assert values(second) == swaps(second, 2.0, "1")
    assert values(third) == swaps(third, 2.0, "1")
    for name in ("swaps", "only"):
        assert stream.metric("scorestream_model_alarm", model=name) == 1.0
    failed = stream.metric("scorestream_model_failures_total", model="swaps", kind="failed")
    # It was not tried a second time, and only another version is.
    assert failed == 1.0
    lacking = {
        n: stream.metric("scorestream_model_lacking_total", model=n) for n in ("swaps", "only")
    }
    assert lacking == {"swaps": 0.0, "only": 9.0}
    register(filled.settings, tmp_path, "swaps", "rows['num_swaps'] * 4.0")
    fourth = stream.batch()
    assert values(fourth) == swaps(fourth, 4.0, "3")
    assert stream.metric("scorestream_model_alarm", model="swaps") == 0.0
    assert b'scorestream_model_alarm{model="swaps"}' in generate_latest(stream.metrics.registry)


def test_a_batch_that_is_stored_keeps_its_versions_when_it_comes_again(
    filled: Installation,
    spark: SparkSession,
    warehouse: Warehouse,
    scoring: Scoring,
    tmp_path: Path,
) -> None:
    register(filled.settings, tmp_path, "swaps", "rows['num_swaps'] * 2.0")
    stored = Stream(filled, spark, warehouse, scoring, [SWAPS]).batch()
    register(filled.settings, tmp_path, "swaps", "rows['num_swaps'] * 3.0")
    Stream(filled, spark, warehouse, scoring, [SWAPS]).again(0)
    assert sorted(warehouse.rows(SCORES), key=lambda r: int(r["source_offset"])) == stored
    published = filled.messages(filled.settings.kafka_success_topic)
    assert {m.headers["model-swaps"] for m in published} == {b"1"}


def test_without_its_registry_a_start_takes_what_served_last_or_says_why_it_cannot(
    filled: Installation,
    spark: SparkSession,
    warehouse: Warehouse,
    scoring: Scoring,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    register(filled.settings, tmp_path, "swaps", "rows['num_swaps'] * 2.0")
    stream = Stream(filled, spark, warehouse, scoring, [SWAPS])
    stream.batch()
    away = SecretStr(f"http://user:hunter2@{HOST}:{free_port()}")
    elsewhere = stream.settings.model_copy(update={"mlflow_tracking_uri": away})
    # What another registry named is no copy of what this one did.
    with pytest.raises(ModelError, match="no earlier version is in the warehouse"):
        Stream(filled, spark, warehouse, scoring, [SWAPS], registry=away)
    ModelCopies(elsewhere).record_active_versions(
        "swaps", ModelCopies(stream.settings).read_active_versions("swaps", "swaps")
    )
    again = Stream(filled, spark, warehouse, scoring, [SWAPS], registry=away)
    again.number = 1
    rows = again.batch()
    assert values(rows) == swaps(rows, 2.0, "1")
    assert again.metric("scorestream_model_alarm", model="swaps") == 1.0
    other = "other@champion"
    with pytest.raises(ModelError, match=rf"model {other} cannot be applied") as failed:
        Stream(filled, spark, warehouse, scoring, [WalletModel(model=other)], registry=away)
    skipped = [WalletModel(model=other, on_missing="skip")]
    without = Stream(filled, spark, warehouse, scoring, skipped, registry=away)
    without.number = 2
    assert values(without.batch(), "other") == [None] * 3
    assert without.metric("scorestream_model_version", model="other") == 0.0
    told = capfd.readouterr()
    assert "model_from_last_copy" in told.out + told.err
    assert "hunter2" not in f"{told} {failed.value}"


def test_backfills_give_the_values_of_the_stream_and_keep_their_versions_when_they_go_on(
    filled: Installation,
    spark: SparkSession,
    warehouse: Warehouse,
    scoring: Scoring,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = filled.settings.model_copy(update={"wallet_models": "swaps"})
    register(settings, tmp_path, "swaps", "rows['num_swaps'] * 2.0")
    streamed = Stream(filled, spark, warehouse, scoring, [SWAPS]).batch()
    path = tmp_path / "wallets.jsonl"
    lines = [{"as_of": g.as_of, "message": g.message} for g in golden_wallets()[:3]]
    path.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    options = BackfillOptions(str(path), run_id="files")
    with monkeypatch.context() as patched:
        patched.setattr("scorestream.wallets.backfill.job.commit_files", _cut_off)
        with pytest.raises(KeyboardInterrupt):
            run_backfill(options, settings)
    register(settings, tmp_path, "swaps", "rows['num_swaps'] * 3.0")
    run_backfill(options, settings)
    run_backfill(BackfillOptions("transactions", run_id="history"), settings)
    of_run = {run: _values_by_wallet(warehouse, run) for run in ("run", "files", "history")}
    assert (
        of_run["files"]
        == of_run["run"]
        == {
            (r["wallet_address"], *v)
            for r, v in zip(streamed, swaps(streamed, 2.0, "1"), strict=True)
        }
    )
    assert {(w, v * 1.5) for w, _, v in of_run["files"]} == {
        (w, v) for w, _, v in of_run["history"]
    }
    assert {version for _, version, _ in of_run["history"]} == {"2"}


def test_a_backfill_says_which_wallets_lack_a_value(
    filled: Installation,
    spark: SparkSession,
    warehouse: Warehouse,
    scoring: Scoring,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """The session's tasks have one attempt: what ends it is taken with care in another job."""
    settings = filled.settings.model_copy(update={"wallet_models": "some,deadly"})
    register(settings, tmp_path, "some", "rows['num_swaps'].where(rows['num_swaps'] > 1)")
    tried = "rows['zscore'].isin([1, 0, 600]).all()"
    register(
        settings, tmp_path, "deadly", f"rows['zscore'] if {tried} else __import__('os')._exit(9)"
    )
    path = tmp_path / "wallets.jsonl"
    lines = [{"as_of": g.as_of, "message": g.message} for g in golden_wallets()[:3]]
    path.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    run_backfill(BackfillOptions(str(path), run_id="files"), settings)
    rows = warehouse.rows(SCORES)
    lacking = sum(row["features"]["num_swaps"] <= 1 for row in rows)
    assert 0 < lacking < 3
    some, deadly = f"{lacking} without a value of some", "3 without a value of deadly"
    assert f"3 scores, {some}, {deadly}, 0 rejects, run files" in capfd.readouterr().out
    for row in rows:
        assert differences(row, GOLDEN[row["wallet_address"], row["as_of"]]) == []
    assert values(rows, "deadly") == [None] * 3


def _cut_off(*_arguments: Any, **_options: Any) -> None:
    raise KeyboardInterrupt


def _values_by_wallet(warehouse: Warehouse, run_id: str) -> set[tuple[str, str, float]]:
    rows = [row for row in warehouse.rows(SCORES) if row["run_id"] == run_id]
    found = [(row["wallet_address"], dict(row["models"])["swaps"]) for row in rows]
    return {(wallet, model["version"], model["value"]) for wallet, model in found}
