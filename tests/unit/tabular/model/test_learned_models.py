"""Families and models: what is saved predicts the same, parts sum up, encoders keep their word."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from scorestream.infra.errors import ModelError, TrainingError
from scorestream.tabular.model.config import Candidate, Column, Encoding
from scorestream.tabular.model.derived_features import add_derived_features
from scorestream.tabular.model.families import FAMILIES, FitOptions, Floats
from scorestream.tabular.model.families.terms import LinearTerms
from scorestream.tabular.model.preprocessing import (
    OrdinalEncoder,
    RampEncoder,
    StepEncoder,
    fit_preparation,
)
from scorestream.tabular.model.trained_model import ModelCard, TabularModel
from scorestream.tabular.training.config.sections import Thresholds
from scorestream.tabular.training.evaluation import calibration_error, evaluate
from scorestream.tabular.training.runs.profile import compute_shares, profile_column
from scorestream.tabular.training.search.learning import Examples, Learner

COLUMNS = {
    "size": Column(kind="number"),
    "grade": Column(kind="ordinal", values=("low", "middle", "high")),
    "kind": Column(kind="category", values=("a", "b")),
}
ROWS = 240


@pytest.fixture(scope="module")
def features() -> pa.Table:
    random = np.random.default_rng(5)
    size = np.where(random.random(ROWS) < 0.05, np.nan, random.lognormal(1, 0.5, ROWS))
    grades, kinds = COLUMNS["grade"].values, COLUMNS["kind"].values
    assert grades is not None
    assert kinds is not None
    return pa.table(
        {
            "size": pa.array(size, from_pandas=True),
            "grade": random.choice(grades, ROWS).tolist(),
            "kind": random.choice(kinds, ROWS).tolist(),
        }
    )


def truth_of(features: pa.Table, classes: int) -> Floats:
    grade = np.array([("low", "middle", "high").index(g) for g in features["grade"].to_pylist()])
    size = np.nan_to_num(np.asarray(features["size"].fill_null(2.0)))
    value = size * (1 + grade)
    if classes == 0:
        return np.asarray(value)
    return np.asarray(
        np.digitize(value, np.quantile(value, np.arange(1, classes) / classes)), float
    )


def build_card(classes: int) -> ModelCard:
    return ModelCard(
        name="t",
        task="classification" if classes else "regression",
        target="y",
        labels=tuple(f"label {k}" for k in range(classes)),
        log=not classes,
        columns=COLUMNS,
        averages={"size": 2.7, "grade": "low", "kind": "a"},
    )


FITS = [
    (family, classes)
    for family, entry in FAMILIES.items()
    for classes in (0, 2, 3)
    if ("classification" if classes else "regression") in entry.tasks
]


@pytest.mark.parametrize(("family", "classes"), FITS)
def test_what_is_saved_predicts_the_same_and_its_parts_sum_up(
    family: str, classes: int, features: pa.Table, tmp_path: Path
) -> None:
    candidate = Candidate(family=family, bags=2)
    learner = Learner("t", ((candidate, {}), (candidate, {})))
    truth = truth_of(features, classes)
    model = learner.learn(build_card(classes), Examples(features, truth), seed=1)
    margin = model.margin(features)
    assert margin.shape == ((ROWS, 3) if classes == 3 else (ROWS,))
    model.save(tmp_path / "m")
    again = TabularModel.load(tmp_path / "m")
    assert again.card == model.card
    assert (again.margin(features) == margin).all()
    for part in again.parts:
        # As the family's library tells them: the model's sum is made to fit.
        x = part.preparation.encode(features)
        told = part.fitted.contributions(x).sum(axis=-1)
        assert np.abs(told - part.fitted.margin(x)).max() < 1e-4
    parts, start = again.contributions(features)
    assert parts.keys() == COLUMNS.keys()
    told = margin.max(axis=1) if classes == 3 else margin
    assert np.abs(start + sum(parts.values()) - told).max() < 1e-4
    metrics = evaluate(model.card, truth, margin)
    assert metrics["f1"] > 0.7 if classes else metrics["r2"] > 0.7


def test_a_row_without_any_value_has_an_error(features: pa.Table) -> None:
    learner = Learner("t", ((Candidate(family="linear"), {}),))
    model = learner.learn(build_card(0), Examples(features, truth_of(features, 0)), seed=1)
    nothing = pa.table({name: pa.nulls(2, features[name].type) for name in COLUMNS})
    found = model.predict(pa.concat_tables([features.slice(0, 3), nothing]), first_row=5)
    assert found.errors.to_pylist() == [None] * 3 + ["column (all): is missing"] * 2
    assert found.values.is_null().to_pylist() == [False] * 3 + [True] * 2


@pytest.mark.parametrize("family", ["linear", "xgboost", "lightgbm"])
def test_weighed_rows_pull_a_model_to_their_side(family: str) -> None:
    """One column, two values of the target for each: what they count decides between them."""
    x = pa.table({"size": [1.0, 1.0, 2.0, 2.0] * 50})
    truth = np.array([1.0, 3.0, 2.0, 6.0] * 50)
    card = ModelCard(name="t", task="regression", target="y", columns={"size": COLUMNS["size"]})
    found = [
        Learner("t", ((Candidate(family=family, weigh=weigh), {}),))
        .learn(card, Examples(x, truth), seed=1)
        .margin(x.slice(0, 3))[[0, 2]]
        for weigh in (0.0, 1.0, 2.0)
    ]
    for weigh, margins in zip((0, 1, 2), found, strict=True):
        pull = 3.0**weigh
        assert margins == pytest.approx(
            [(1 + 3 * pull) / (1 + pull), (2 + 6 * pull) / (1 + pull)], rel=0.01
        )


def test_a_bounded_model_goes_nowhere_beyond_what_it_learned_and_its_parts_sum_up(
    features: pa.Table, tmp_path: Path
) -> None:
    truth = truth_of(features, 0)
    bounded = build_card(0).model_copy(update={"within": (-np.inf, np.inf)})
    linear, trees = (Candidate(family=family) for family in ("linear", "xgboost"))
    learner = Learner("t", ((linear, {}), (trees, {})), (0.7, 0.3))
    some = Examples(features, truth).where(np.abs(np.log(truth) - np.log(truth).mean()) < 0.5)
    model = learner.learn(bounded, some, seed=1)
    model.save(tmp_path / "m")
    model = TabularModel.load(tmp_path / "m")
    least, most = np.log(some.truth).min(), np.log(some.truth).max()
    margin, free = model.margin(features), model.sum_parts(features)
    assert model.card.within == (least, most)
    assert (margin.min(), margin.max()) == (least, most)
    assert free.max() > most
    assert (margin == np.clip(free, least, most)).all()
    parts, start = model.contributions(features)
    assert np.abs(start + sum(parts.values()) - margin).max() < 1e-9
    unbounded = TabularModel(model.card.model_copy(update={"within": None}), model.parts)
    before, _ = unbounded.contributions(features)
    for name, values in parts.items():
        # Nothing turns round, and what lies within is as it was.
        assert (values * before[name] >= 0).all()
        assert values[margin == free] == pytest.approx(before[name][margin == free], abs=1e-5)


@dataclass(frozen=True)
class Astray(LinearTerms):
    """Tells of the first column more than it adds."""

    def contributions(self, x: Floats) -> Floats:
        found = super().contributions(x)
        found[:, 0] += 0.01
        return found


def test_parts_that_miss_the_prediction_are_no_explanation(features: pa.Table) -> None:
    learner = Learner("t", ((Candidate(family="linear"), {}),))
    model = learner.learn(build_card(0), Examples(features, truth_of(features, 0)), seed=1)
    [part] = model.parts
    assert isinstance(part.fitted, LinearTerms)
    astray = replace(part, fitted=Astray(**asdict(part.fitted)))
    with pytest.raises(ModelError, match=r"parts of a prediction miss it by 0\.01"):
        TabularModel(model.card, (astray,)).contributions(features)


@pytest.mark.parametrize(
    ("label_type", "labels"),
    [
        ("int64", ("0", "7")),
        ("bool", ("false", "true")),
        ("double", ("0.5", "1")),
        ("string", "ab"),
    ],
)
def test_labels_are_told_as_they_came(
    label_type: str, labels: tuple[str, ...], features: pa.Table
) -> None:
    card = build_card(2).model_copy(update={"labels": tuple(labels), "label_type": label_type})
    learner = Learner("t", ((Candidate(family="logistic"), {}),))
    model = learner.learn(card, Examples(features, truth_of(features, 2)), seed=1)
    values = model.predict(features).values
    assert values.type == pa.type_for_alias(label_type)
    assert set(values.cast(pa.string()).to_pylist()) == set(labels)
    profile = profile_column(values)
    assert sum(compute_shares(profile, pa.chunked_array([values]))) == pytest.approx(1)


@pytest.mark.parametrize("family", list(FAMILIES))
def test_a_wrong_parameter_is_told(family: str, features: pa.Table) -> None:
    classes = 2 if "classification" in FAMILIES[family].tasks else 0
    task = "classification" if classes else "regression"
    wrong = {"tol": "x", "max_depth": "x", "num_leaves": "x", "alpha_": 1}
    if family == "linear":
        wrong = {"alpha": -1}
    with pytest.raises(TrainingError, match=f"family {family}: "):
        FAMILIES[family].fit(
            np.ones((20, 2)), truth_of(features, classes)[:20], FitOptions(task, classes, wrong, 1)
        )


@pytest.mark.parametrize(
    ("family", "classes", "params", "told"),
    [
        ("lightgbm", 0, {"objective": "poisson"}, "'poisson': .*give one of regression, "),
        ("lightgbm", 3, {"objective": "multiclassova"}, "give one of multiclass, softmax"),
        ("lightgbm", 0, {"reg_sqrt": True}, "reg_sqrt: would change"),
        ("xgboost", 0, {"objective": "count:poisson"}, "give one of reg:squarederror, "),
        ("xgboost", 2, {"objective": "binary:hinge"}, "give one of binary:logistic, "),
    ],
)
def test_an_objective_whose_margins_mean_something_else_is_refused(
    family: str, classes: int, params: dict[str, object], told: str, features: pa.Table
) -> None:
    learning = FitOptions("classification" if classes else "regression", classes, params, 1)
    with pytest.raises(TrainingError, match=f"family {family}: .*{told}"):
        FAMILIES[family].fit(np.ones((ROWS, 2)), truth_of(features, classes), learning)


@pytest.mark.parametrize("family", ["xgboost", "lightgbm"])
def test_trees_take_numbers_of_any_size(family: str) -> None:
    x = np.array([[1e300], [-1e39], [np.nan], [1.0]] * 20)
    fitted = FAMILIES[family].fit(x, np.arange(80.0) % 4, FitOptions("regression", 0, {}, 1))
    parts = fitted.contributions(x)
    assert parts.sum(axis=1) == pytest.approx(fitted.margin(x), abs=1e-4)
    assert fitted.margin(x)[:4] == pytest.approx([0, 1, 2, 3], abs=0.1)


def test_a_damaged_model_and_one_of_another_version_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is no model, or damaged"):
        TabularModel.load(tmp_path)
    (tmp_path / "model.json").write_text('{"card": {"format": 9}, "parts": []}')
    with pytest.raises(ModelError, match=r"written by another version: card\.format"):
        TabularModel.load(tmp_path)


def test_a_row_that_is_bad_has_no_prediction_and_the_others_have_theirs(
    features: pa.Table,
) -> None:
    learner = Learner("t", ((Candidate(family="linear"), {}),))
    model = learner.learn(build_card(0), Examples(features, truth_of(features, 0)), seed=1)
    table = pa.table({"size": ["1", "x"], "grade": ["low", "low"], "kind": ["a", "a"]})
    found = model.predict(table, first_row=8)
    assert found.errors.to_pylist() == [None, "column size: 'x' is no number"]
    assert found.values[1].as_py() is None
    assert found.values[0].as_py() == pytest.approx(
        model.predict(table.slice(0, 1)).values[0].as_py()
    )
    assert len(model.predict(table.slice(0, 0)).values) == 0


def test_ramps_add_up_to_the_number_and_never_fall() -> None:
    ramps = RampEncoder(feature="x", fill=1.0, knots=(0.0, 1.0, 4.0))
    values = pa.chunked_array([[-2.0, 0.5, 1.0, 3.0, 9.0, None]])
    encoded = ramps.encode(values)
    assert encoded.sum(axis=1).tolist() == [-2.0, 0.5, 1.0, 3.0, 9.0, 1.0]
    assert encoded[4].tolist() == [1.0, 3.0, 5.0]


def test_grades_are_steps_and_what_is_missing_is_the_middle() -> None:
    grades = StepEncoder(feature="x", values=("low", "middle", "high"), fill=1)
    encoded = grades.encode(pa.chunked_array([["low", "middle", "high", None]]))
    assert encoded.tolist() == [[0, 0], [1, 0], [1, 1], [1, 0]]


def test_a_logarithm_needs_numbers_above_0() -> None:
    candidate = Candidate(
        family="linear", features=("size",), encode={"size": Encoding(to="scaled", log=True)}
    )
    with pytest.raises(TrainingError, match="column size: has values of 0"):
        fit_preparation(pa.table({"size": [0.0, 1.0]}), COLUMNS, (), candidate)
    with pytest.raises(TrainingError, match="column size: no row has a value"):
        fit_preparation(pa.table({"size": pa.nulls(2, pa.float64())}), COLUMNS, (), candidate)


def test_derived_features_are_numbers_or_missing() -> None:
    rows = pa.table({"a": [1.0, 0.0, None], "b": [2.0, 0.0, 1.0]})
    found = add_derived_features(rows, {"ratio": "b / a", "double": "ratio * 2"})
    assert found["ratio"].to_pylist() == [2.0, None, None]
    assert found["double"].to_pylist() == [4.0, None, None]
    assert found.column_names == ["a", "b", "ratio", "double"]
    texts = pa.table({"a": ["7", "x"], "b": [0.0, 1.0]})
    found = add_derived_features(texts, {"number": "CAST(a AS INTEGER)", "log": "ln(b)"})
    assert found["number"].to_pylist() == [7.0, None]
    assert found["log"].to_pylist() == [None, 0.0]
    assert add_derived_features(texts, {"most": "max(b) OVER ()"})["most"].to_pylist() == [1.0, 1.0]
    with pytest.raises(TrainingError, match="derived: "):
        add_derived_features(rows, {"x": "no_such(a)"})
    with pytest.raises(TrainingError, match="derived: "):
        add_derived_features(rows, {"x": "(SELECT count(*) FROM read_csv('/etc/passwd'))"})


def test_calibration_is_the_mean_gap_of_probability_and_frequency() -> None:
    hit = np.array([True, True, False, False])
    assert calibration_error(hit, np.array([0.75] * 4)) == pytest.approx(0.25)
    assert calibration_error(hit, np.array([1.0, 1.0, 0.0, 0.0])) == 0


@pytest.mark.parametrize("task", ["classification", "regression", "anomaly"])
@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), 800.0])
def test_what_predicts_no_finite_number_has_no_metric(task: str, wrong: float) -> None:
    card = build_card(2 if task == "classification" else 0).model_copy(update={"task": task})
    truth, margin = np.array([1.0, 0.0, 1.0]), np.array([0.3, -1.0, wrong])
    metrics = evaluate(card, truth, margin)
    assert bool(metrics) == (task == "classification" and wrong == 800)


def test_a_label_that_no_row_has_cannot_be_learned(features: pa.Table) -> None:
    x, y = np.random.default_rng(1).normal(size=(40, 2)), np.array([0.0, 1.0] * 20)
    with pytest.raises(TrainingError, match="family logistic: rows of 2 of 3 labels"):
        FAMILIES["logistic"].fit(x, y, FitOptions("classification", 3, {}, 1))


@pytest.mark.parametrize("family", list(FAMILIES))
def test_a_missing_grade_has_a_prediction(family: str, features: pa.Table) -> None:
    """Also where the rows of the training had all of them."""
    classes = 2 if "classification" in FAMILIES[family].tasks else 0
    candidate = Candidate(family=family, encode={"grade": Encoding(to="as_is")})
    learner, truth = Learner("t", ((candidate, {}),)), truth_of(features, classes)
    model = learner.learn(build_card(classes), Examples(features, truth), seed=1)
    rows = pa.table({"size": [2.0, None], "grade": ["middle", None], "kind": ["a", None]})
    assert np.isfinite(model.margin(model.check(rows).rows)).all()
    [encoder] = [e for e in model.parts[0].preparation.encoders if e.feature == "grade"]
    assert isinstance(encoder, OrdinalEncoder)
    assert encoder.fill == (None if FAMILIES[family].style == "trees" else 1)


def test_thresholds_that_are_not_reached_are_told() -> None:
    thresholds = Thresholds.model_validate(
        {"f1": {"at_least": 0.9}, "mape": {"at_most": 0.1}, "r2": {"at_least": 0}}
    )
    assert thresholds.failures({"f1": 0.9, "mape": 0.1, "r2": 0.5}) == []
    assert thresholds.failures({"f1": 0.89, "mape": float("nan")}) == [
        "f1 0.89 is below 0.9",
        "mape nan is above 0.1",
        "r2 is not defined for the held-out rows",
    ]
