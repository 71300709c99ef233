"""The isolation forest of ours against scikit-learn's, and what its anomaly models promise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from sklearn.ensemble import IsolationForest

from scorestream.infra.errors import ModelError
from scorestream.tabular.model.config import Candidate, Column
from scorestream.tabular.model.explain import explain_rows
from scorestream.tabular.model.families import FAMILIES, FitOptions, Floats
from scorestream.tabular.model.families.forest import Forest
from scorestream.tabular.model.trained_model import ModelCard, TabularModel
from scorestream.tabular.training.evaluation import anomaly_metrics, evaluate
from scorestream.tabular.training.search.learning import Examples, Learner

FAMILY = FAMILIES["isolation_forest"]
ROWS = 700
COLUMNS = {name: Column(kind="number") for name in ("a", "b", "c")}
CARD = ModelCard(
    name="t",
    task="anomaly",
    target="truth",
    anomalous=("odd",),
    flag=0.05,
    log=True,
    columns=COLUMNS,
    averages=dict.fromkeys(COLUMNS, 0.0),
)


@pytest.fixture(scope="module")
def x() -> Floats:
    random = np.random.default_rng(3)
    found = random.normal(size=(ROWS, 3)) * [1.0, 50.0, 1e-3]
    found[:20] *= 8
    # Values that repeat, and those on which a cut falls in single precision only.
    found[20:200, 1] = np.round(found[20:200, 1])
    return np.asarray(found)


def forest_of(x: Floats, params: dict[str, object]) -> Forest:
    fitted = FAMILY.fit(x, np.zeros(len(x)), FitOptions("anomaly", 0, params, 5))
    assert isinstance(fitted, Forest)
    return fitted


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"n_estimators": 30, "max_samples": 64},
        {"n_estimators": 30, "max_features": 2},
        {"n_estimators": 7, "max_samples": 1.0, "bootstrap": True},
    ],
)
def test_path_lengths_and_scores_are_those_of_scikit_learn(
    params: dict[str, object], x: Floats
) -> None:
    theirs = IsolationForest(random_state=5, **params).fit(x)
    fresh = np.random.default_rng(8).normal(size=(5000, 3)) * [3.0, 90.0, 1e-2]
    rows = np.concatenate([x, fresh, [[1e300, -1e300, 0.0]]]).clip(-3e38, 3e38)
    ours = forest_of(x, params)
    scale = ours.scale[0] * len(ours.roots)
    # The same sum of the same numbers in the same order: equal to the last digit.
    assert (2.0 ** (-ours._lengths(rows) / scale) == -theirs.score_samples(rows)).all()
    alone = [ours.margin(row[None, :])[0] for row in rows[:50]]
    assert (ours.margin(rows)[:50] == alone).all()
    assert np.abs(np.exp(ours.margin(rows)) + theirs.score_samples(rows)).max() < 1e-15


def test_contributions_sum_to_the_margin_and_name_the_odd_column(x: Floats) -> None:
    forest = forest_of(x, {})
    rows = np.concatenate([x, [[0.0, 500.0, 0.0], [0.0, 0.0, 0.0]]])
    parts = forest.contributions(rows)
    assert np.abs(parts.sum(axis=1) - forest.margin(rows)).max() < 1e-12
    assert parts[-2, :3].argmax() == 1
    assert parts[-2, 1] > 0.1
    assert np.abs(parts[-2, [0, 2]]).max() < parts[-2, 1]
    assert (parts[:, 3] == parts[0, 3]).all()


def table_of(x: Floats) -> pa.Table:
    return pa.table(dict(zip(COLUMNS, x.T, strict=True)))


def test_a_model_gives_scores_and_their_reasons(x: Floats, tmp_path: Path) -> None:
    learner = Learner("t", ((Candidate(family="isolation_forest", bags=2), {}),))
    truth = np.where(np.arange(ROWS) < 20, 1.0, np.nan)
    model = learner.learn(CARD, Examples(table_of(x), truth), seed=1)
    model.save(tmp_path / "m")
    again = TabularModel.load(tmp_path / "m")
    found = again.predict(table_of(x))
    scores = np.asarray(found.values)
    assert found.probability is None
    assert 0 < scores.min() < scores.max() < 1
    assert (scores == np.asarray(model.predict(table_of(x)).values)).all()
    assert scores[:20].mean() > np.quantile(scores, 0.9)
    explained = explain_rows(again, table_of(x))
    total = explained.start + sum(explained.terms.values())
    assert np.abs(total - scores).max() < 1e-12


def test_the_truth_does_not_teach(x: Floats) -> None:
    learner = Learner("t", ((Candidate(family="isolation_forest"), {}),))
    truths = [np.full(ROWS, np.nan), (np.arange(ROWS) < 20).astype(float)]
    margins = [
        learner.learn(CARD, Examples(table_of(x), truth), seed=1).margin(table_of(x))
        for truth in truths
    ]
    assert (margins[0] == margins[1]).all()


def test_metrics_are_those_of_the_rows_of_which_the_truth_is_known() -> None:
    truth = np.array([1.0, 0.0, 0.0, 1.0, np.nan, 0.0])
    score = np.array([0.9, 0.2, 0.3, 0.25, 0.95, 0.1])
    found = anomaly_metrics(truth, score, flag=0.34)
    assert found["flag_above"] == 0.9
    assert (found["precision"], found["recall"]) == (1.0, 0.5)
    assert found["roc_auc"] == pytest.approx(5 / 6)
    assert found["average_precision"] == pytest.approx((1 + 2 / 3) / 2)
    assert evaluate(CARD, np.full(6, np.nan), np.log(score)).keys() == {"flag_above"}


def test_a_damaged_forest_is_refused(x: Floats, tmp_path: Path) -> None:
    learner = Learner("t", ((Candidate(family="isolation_forest"), {}),))
    learner.learn(CARD, Examples(table_of(x), np.zeros(ROWS)), seed=1).save(tmp_path)
    file = tmp_path / "0" / "forest.npz"
    whole = file.read_bytes()
    arrays = dict(np.load(file))
    np.savez(file, **{**arrays, "left": arrays["left"] + 10_000_000})
    with pytest.raises(ModelError, match=r"damaged: .*a node is none of"):
        TabularModel.load(tmp_path)
    np.savez(file, **{**arrays, "length": np.array([{}], dtype=object)})
    with pytest.raises(ModelError, match="damaged"):
        TabularModel.load(tmp_path)
    for content in (whole[:100], b""):
        file.write_bytes(content)
        with pytest.raises(ModelError, match="damaged"):
            TabularModel.load(tmp_path)
