"""More rows than are collected: searched on a sample, learned in Spark from all of them."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from models import LOAN_ROWS, LOANS, SMALL, registry_of, run_of, settings_of, table_of, train
from models import loans as loan_rows
from scorestream.errors import TrainingError
from scorestream.io.mlflow.tracking import unpacked_hashes

pytestmark = [pytest.mark.spark, pytest.mark.timeout(900)]

TREES = "candidates={trees: {family: xgboost, bags: 2, params: {n_estimators: 60, max_depth: 4}}}"
LARGE = (*SMALL, "blend=[]", TREES, "collect_at_most=1200", "split.by=random")


def test_the_distributed_trainer_learns_all_rows(spark: SparkSession, tmp_path: Path) -> None:
    source = tmp_path / "loans.parquet"
    pq.write_table(table_of(loan_rows()), source, row_group_size=500)
    settings = settings_of(tmp_path)
    train(settings, LOANS, *LARGE, "thresholds.roc_auc.at_least=0.99", data=source)
    champion = registry_of(settings).resolve("loan-approval")
    run = run_of(settings, champion)
    sampled = int(champion.tags["rows"])
    assert 800 < sampled < 1500
    assert len(unpacked_hashes(run.read_file("training_rows.bin"))) < sampled
    # A sample alone does not tell so many rows of the sample file apart so well.
    assert float(champion.tags["metric.f1"]) > 0.97
    assert len(run.read_model("judged").parts) == 1


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
