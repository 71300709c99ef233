"""More rows than are collected: searched on a sample, learned in Spark from all of them."""

from __future__ import annotations

import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from scorestream.infra.errors import InputError, TrainingError
from scorestream.tabular.model.families.boosted_xgb import Boosted
from scorestream.tabular.training.runs.run_log import read_profile
from tools.testkit.models import (
    LOAN_ROWS,
    LOANS,
    SMALL,
    registry_of,
    run_of,
    settings_of,
    table_of,
    train,
)
from tools.testkit.models import loans as loan_rows

pytestmark = [pytest.mark.spark, pytest.mark.timeout(900)]

TREES = "candidates={trees: {family: xgboost, bags: 2, params: {n_estimators: 60, max_depth: 4}}}"
LARGE = (*SMALL, "blend=[]", TREES, "collect_at_most=1200", "split.by=random")


def test_the_distributed_trainer_learns_all_rows(spark: SparkSession, tmp_path: Path) -> None:
    source = tmp_path / "rows.parquet"
    rows = loan_rows()
    rows[3000]["income_annum"] = "lots"
    pq.write_table(table_of(rows), source, row_group_size=500)
    pq.write_table(table_of(rows[:200]), tmp_path / "few.parquet")
    settings = settings_of(tmp_path)
    train(settings, LOANS, *LARGE, "thresholds.roc_auc.at_least=0.99", data=source)
    champion = registry_of(settings).resolve("loan-approval")
    run = run_of(settings, champion)
    profile = read_profile(run)
    assert profile.sample is not None
    assert 800 < profile.sample < 1500
    bad = {"income_annum: is no number": 1}
    assert (profile.rows, profile.bad_rows, champion.tags["rows"]) == (3414, bad, "3414")
    assert profile.columns["cibil_score"].count == profile.sample
    assert profile.held_out == pytest.approx(0.2 * 3414, abs=100)
    assert float(champion.tags["metric.f1"]) > 0.97
    [part] = run.read_model("judged").parts
    assert isinstance(part.fitted, Boosted)
    # What a first tree sees of a row is p * (1 - p), with the share p of the labels.
    cover = part.fitted.booster.trees_to_dataframe().query("Tree == 0 and Node == 0")["Cover"]
    learned, p = 3414 - profile.held_out, 2127 / 3415
    assert float(cover.iloc[0]) == pytest.approx(learned * p * (1 - p), rel=0.02)

    train(settings, LOANS, *LARGE, "collect_at_most=5000", "split.seed=3", data=source)
    new, _ = registry_of(settings).versions("loan-approval")
    assert new.tags["trained_in"] == "process"
    found = re.search(r"of champion loan-approval/1 on (\d+) held-out rows", new.tags["verdict"])
    assert found
    # A fifth of those held out now: the champion has learned the others, most of them in Spark.
    assert int(found[1]) == pytest.approx(0.04 * 3414, abs=40)

    with pytest.raises(InputError, match=r"rows\.parquet: holds more than collect_at_most"):
        train(settings, LOANS, *LARGE, f"data={source}", append=source.with_name("few.parquet"))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ("split.by=stratified", "split.by must be random"),
        ("candidates={plain: {family: logistic}}", "no candidate learns in Spark"),
    ],
)
def test_what_needs_all_rows_in_one_process_is_refused(
    change: str, text: str, tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match=text):
        train(settings_of(tmp_path), LOANS, *LARGE, change, data=LOAN_ROWS)
