"""Configuration of use cases: what ships is right, and what is wrong is told by its path."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from scorestream.infra.config.settings import PROJECT_ROOT
from scorestream.infra.errors import ConfigurationError
from scorestream.tabular.training.config.load import load_use_case

MODELS = PROJECT_ROOT / "conf" / "models"
LOANS = MODELS / "loan_approval.yaml"
DIAMONDS = MODELS / "diamonds.yaml"


@pytest.mark.parametrize("path", sorted(MODELS.glob("*.yaml")), ids=lambda path: path.stem)
def test_what_ships_is_named_as_its_file(path: Path) -> None:
    assert load_use_case(path).name == path.stem.replace("_", "-")


def test_the_explainable_model_has_positive_coefficients() -> None:
    assert load_use_case(DIAMONDS).candidates["linear"].params == {"positive": True}


@pytest.mark.parametrize(
    ("path", "change", "text"),
    [
        (LOANS, "search.trials=0", "search.trials: "),
        (LOANS, "search.trial=5", "search.trial: Extra inputs"),
        (LOANS, "search.metric=mape", "search.metric: 'mape' is none of accuracy"),
        (LOANS, "thresholds.f2.at_least=1", "thresholds.f2: 'f2' is none of"),
        (LOANS, "thresholds.f1={}", "thresholds.f1: "),
        (LOANS, "task=ranking", "task: "),
        (LOANS, "candidates.logistic.family=magic", "'magic' is none of linear, logistic"),
        (LOANS, "candidates.logistic.family=linear", "linear cannot learn a classification"),
        (LOANS, "candidates.xgboost.features=[age]", "'age' is no column or derived feature"),
        (LOANS, "candidates.xgboost.over={family: logistic}", "over: is for regressions"),
        (LOANS, "candidates.xgboost.space.eta={low: 1}", "candidates.xgboost.space.eta: "),
        (LOANS, "candidates.xgboost.space.eta={low: 2, high: 1}", "low must not be above high"),
        (LOANS, "candidates.xgboost.space.eta={low: 0, high: 1, log: true}", "needs low above 0"),
        (LOANS, "candidates.xgboost.space.eta={choices: [1], log: true}", "needs low above 0"),
        (
            DIAMONDS,
            "candidates.xgboost.over.space={alpha: {low: 1, high: 2}}",
            "candidates.xgboost.over.space: ",
        ),
        (LOANS, "reasons.texts.cibil='{amount}'", "reasons.texts: 'cibil' is no column"),
        (LOANS, "blend=[svm]", "blend: 'svm' is no candidate"),
        (LOANS, "target.positive=Maybe", "target.positive: 'Maybe' is none of the labels"),
        (LOANS, "target.log=true", "target.log: "),
        (LOANS, "target.bounded=true", "target.bounded: is for regressions"),
        (LOANS, "candidates.xgboost.weigh=1", "candidates.xgboost.weigh: is for regressions"),
        (LOANS, "guards={mape: {}}", "guards.mape: 'mape' is none of accuracy"),
        (LOANS, "guards={roc_auc: {tolerance: -1}}", "guards.roc_auc.tolerance: "),
        (DIAMONDS, "guards={mape: {}}", "guards.mape: is search.metric, by which"),
        (DIAMONDS, "blend=[xgboost]", "blending: a single member"),
        (LOANS, "ids=[income_annum]", "columns.income_annum: is a target, an id"),
        (LOANS, "columns.error={kind: number}", "is the name of a column that results have"),
        (LOANS, "columns.education.min=1", "columns.education: "),
        (LOANS, "columns.loan_term.values=[a]", "columns.loan_term: "),
        (LOANS, "derived.x=loan_amount +", "derived.x: "),
        (LOANS, "derived.x=no_such + 1", "derived.x: 'no_such' is no column"),
        (LOANS, "derived.x=(SELECT 1)", "derived.x: must be an expression"),
        (LOANS, "split.by=time", "split: "),
        (LOANS, "baselines={a%b: '1'}", "baselines.a%b"),
        (LOANS, "baselines={'': '1'}", "baselines."),
        (LOANS, "sql=SELECT 1", "data, sql, table: give one of them"),
        (LOANS, "reasons.text={what}", "reasons"),
        (LOANS, "drift.psi=-1", "drift.psi: "),
        (DIAMONDS, "columns.cut.values=null", "an ordinal needs its values"),
        (DIAMONDS, "columns.cut.values=[a, a]", "values must be different"),
        (DIAMONDS, "candidates.linear.encode.cut.to=ramps", "a ordinal is encoded to"),
        (DIAMONDS, "candidates.linear.encode.cut={to: steps, log: true}", "only numbers"),
        (DIAMONDS, "target.labels=[a, b]", "are those of a classification"),
        (DIAMONDS, "similar.nearest=weight", "similar: 'weight' is no column"),
        (DIAMONDS, "search", "must be key=value"),
        (DIAMONDS, "name.x=1", "below what is no mapping"),
        (DIAMONDS, "name=[", "is no YAML value"),
    ],
)
def test_what_is_wrong_is_told_by_its_path(path: Path, change: str, text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_use_case(path, [change])
    assert text in str(caught.value)


def test_all_that_does_not_fit_together_is_told_at_once() -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_use_case(LOANS, ["blend=[svm]", "search.metric=mape", "derived.x=no_such"])
    for text in ("'svm'", "'mape'", "'no_such'"):
        assert text in str(caught.value)


def test_a_baseline_has_a_name_that_a_metric_may_have() -> None:
    case = load_use_case(LOANS, ["baselines={base_rate: '1', Base rate: '1', über-5.0: '1'}"])
    assert list(case.baselines) == ["base_rate", "Base rate", "über-5.0"]


def test_a_later_derived_feature_may_use_an_earlier_one(tmp_path: Path) -> None:
    content = yaml.safe_load(LOANS.read_text(encoding="utf-8"))
    content["candidates"] = {"trees": {"family": "xgboost"}}
    content["blend"], content["reasons"] = [], {}
    content["derived"] = {"b": "a * 2", "a": "loan_amount"}
    (tmp_path / "x.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    with pytest.raises(ConfigurationError, match=r"derived\.b: 'a'"):
        load_use_case(tmp_path / "x.yaml")
    content["derived"] = {"a": "loan_amount", "b": "a * 2"}
    (tmp_path / "x.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    assert load_use_case(tmp_path / "x.yaml").derived["b"] == "a * 2"
