"""Baselines: what the learned rows of the same value came to, judged on the held-out ones."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from scorestream.infra.config.settings import PROJECT_ROOT
from scorestream.infra.errors import ConfigurationError, TrainingError
from scorestream.tabular.training.config.load import load_use_case
from scorestream.tabular.training.config.sections import Bound
from scorestream.tabular.training.config.use_case import UseCase
from scorestream.tabular.training.data.datasets import Dataset, Source
from scorestream.tabular.training.data.hashing import row_hashes
from scorestream.tabular.training.data.totals import Totals
from scorestream.tabular.training.metrics import metric_of
from scorestream.tabular.training.search.baselines import compare_with_baseline, evaluate_baselines
from scorestream.tabular.training.search.learning import build_card, build_examples, split_folds
from scorestream.tabular.training.search.training_context import TrainingContext

MODELS = PROJECT_ROOT / "conf" / "models"
LEARNED, HELD = 60, 20
HELD_OUT = np.arange(LEARNED + HELD) >= LEARNED


def metrics_of(use_case: UseCase, rows: pa.Table) -> dict[str, dict[str, float]]:
    card = build_card(use_case, rows)
    totals = Totals(len(HELD_OUT), HELD, 0, {}, "")
    data = Dataset("rows", rows, HELD_OUT | True, HELD_OUT, row_hashes(rows), [], totals)
    context = TrainingContext(
        use_case, Source("rows", rows), data, card, build_examples(card, rows)
    )
    return {name: dict(metrics) for name, metrics in evaluate_baselines(context).items()}


def case_of(task: str, target: str, *changes: str) -> UseCase:
    small = (
        f"task={task}",
        f"target={target}",
        "columns={x: {kind: number}}",
        "derived={}",
        "candidates={a: {family: lightgbm}}",
        "blend=[]",
        "thresholds={}",
        "ids=[]",
        "reasons={}",
    )
    return load_use_case(MODELS / "loan_approval.yaml", [*small, *changes])


def test_a_baseline_knows_the_shares_of_the_learned_rows() -> None:
    active = [place % 2 == 0 for place in range(LEARNED + HELD)]
    # Of 30 learned active rows 24 stay, of the others 6; one more row of each came to the mean.
    stays = ["yes" if (place // 2 % 5 < 4) == on else "no" for place, on in enumerate(active)]
    rows = pa.table({"x": np.arange(80.0), "active": active, "stays": stays})
    case = case_of(
        "classification",
        "{column: stays, positive: 'yes'}",
        "baselines={rate: '1', active: active, unseen: x}",
    )
    found = metrics_of(case, rows)
    p = (24 + 0.5) / 31
    expected = -(0.8 * np.log(p) + 0.2 * np.log(1 - p))
    assert found["active"]["log_loss"] == pytest.approx(expected)
    assert found["active"]["accuracy"] == pytest.approx(0.8)
    assert found["rate"]["log_loss"] == pytest.approx(np.log(2))
    assert found["unseen"]["log_loss"] == pytest.approx(np.log(2))


def test_a_baseline_of_more_than_two_labels_and_one_of_prices() -> None:
    kinds = [["a", "b", "c"][place % 3] for place in range(80)]
    rows = pa.table({"x": [float(place % 3) for place in range(80)], "kind": kinds})
    found = metrics_of(case_of("classification", "{column: kind}", "baselines={x: x}"), rows)
    assert found["x"]["accuracy"] == 1.0
    prices = pa.table({"x": rows["x"], "price": [10.0 ** (1 + place % 3) for place in range(80)]})
    case = case_of(
        "regression",
        "{column: price, log: true}",
        "search.metric=mape",
        "baselines={x: x, mean: '1'}",
    )
    found = metrics_of(case, prices)
    assert found["x"]["mape"] < 0.2 < found["mean"]["mape"]


def test_the_baseline_of_an_anomaly_is_a_score() -> None:
    odd = [place % 10 == 0 for place in range(80)]
    rows = pa.table(
        {
            "x": [5.0 if o else None for o in odd],
            "what": ["odd" if o else "fine" for o in odd],
        }
    )
    case = load_use_case(
        MODELS / "wallet_anomaly.yaml",
        [
            "target={column: what, anomalous: [odd]}",
            "columns={x: {kind: number}}",
            "derived={}",
            "reasons={}",
            "ids=[]",
            "candidates={forest: {family: isolation_forest}}",
            "baselines={x: 'coalesce(x, 1)', less: '-coalesce(x, 1)'}",
        ],
    )
    found = metrics_of(case, rows)
    assert found["x"]["average_precision"] == 1.0
    assert found["less"]["roc_auc"] == 0.0


def test_an_expression_that_cannot_be_computed_is_told() -> None:
    rows = pa.table({"x": np.arange(80.0), "y": ["a", "b"] * 40})
    case = case_of("classification", "{column: y}", "baselines={wrong: no_such_function(x)}")
    with pytest.raises(TrainingError, match="no_such_function"):
        metrics_of(case, rows)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ("baselines.x=1 +", "baselines.x: "),
        ("baselines.x=(SELECT 1)", "baselines.x: must be an expression"),
        ("baselines.x=retained = 'true'", "baselines.x: must not know the target"),
        ("target.anomalous=[bot]", "target.anomalous: is that of an anomaly"),
        ("data=x.csv", "data, sql, table: give one of them"),
        ("table=../wallets", "table: "),
    ],
)
def test_what_is_wrong_with_a_wallet_model_is_told_by_its_path(change: str, text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_use_case(MODELS / "wallet_retention.yaml", [change])
    assert text in str(caught.value)


def test_rows_of_a_group_are_never_on_both_sides_of_a_fold() -> None:
    wallets = [f"wallet {place % 30}" for place in range(300)]
    rows = pa.table({"x": np.arange(300.0), "wallet": wallets, "y": ["a", "b", "b"] * 100})
    card = build_card(case_of("classification", "{column: y}"), rows)
    examples = build_examples(card, rows, "wallet")
    folds = split_folds(examples, card, 4, seed=1)
    assert sorted(np.concatenate([judge for _, judge in folds]).tolist()) == list(range(300))
    for learn, judge in folds:
        sides = [{wallets[place] for place in places} for places in (learn, judge)]
        assert sides[0].isdisjoint(sides[1])
    again = split_folds(examples.take(np.arange(300)), card, 4, seed=1)
    assert all((a[1] == b[1]).all() for a, b in zip(folds, again, strict=True))
    with pytest.raises(TrainingError, match="too few groups"):
        split_folds(build_examples(card, rows.slice(0, 2), "wallet"), card, 4, seed=1)


@pytest.mark.parametrize(
    ("ours", "theirs", "beaten", "told"),
    [
        (0.4, 0.5, True, "log_loss 0.4 beats 0.5 of baseline rate"),
        (0.5, 0.4, False, "log_loss 0.5 does not beat 0.4 of baseline rate"),
        (0.5, 0.5, False, "log_loss 0.5 does not beat 0.5 of baseline rate"),
        (None, 0.5, False, "log_loss is not defined for the held-out rows: no comparison with"),
        (0.5, None, False, "log_loss is not defined for the held-out rows: no comparison with"),
    ],
)
def test_a_baseline_is_beaten_by_what_is_better(
    ours: float | None, theirs: float | None, *, beaten: bool, told: str
) -> None:
    metrics = [{} if value is None else {"log_loss": value} for value in (ours, theirs)]
    found = compare_with_baseline(
        metric_of("classification", "log_loss"), metrics[0], "rate", metrics[1]
    )
    assert found.is_beaten == beaten
    assert found.text.startswith(told)


def test_baselines_that_shall_be_beaten_have_to_be_there() -> None:
    change = "thresholds={beats_baselines: true, f1: {at_least: 0.5}}"
    target = "{column: stays, positive: 'yes'}"
    case = case_of("classification", target, "baselines={rate: '1'}", change)
    assert case.thresholds.beats_baselines
    assert case.thresholds.bounds == {"f1": Bound(at_least=0.5)}
    assert UseCase.model_validate_json(case.model_dump_json()) == case
    with pytest.raises(ConfigurationError, match="beats_baselines: there are no baselines"):
        case_of("classification", target, "baselines={}", change)
    with pytest.raises(ConfigurationError, match=r"thresholds\.f1"):
        case_of("classification", target, "thresholds={f1: 0.5}")
