"""Registered models applied to tables: scored, explained, checked for drift."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake
from mlflow.models import infer_signature
from mlflow.pyfunc import save_model
from mlflow.pyfunc.model import PythonModel
from mlflow.sklearn import save_model as save_sklearn
from sklearn.linear_model import LinearRegression

from scorestream.infra.config.settings import Settings
from scorestream.infra.delta import table_features
from scorestream.infra.errors import DriftFound, InputError, ModelError
from scorestream.infra.mlflow.store import ModelStore
from scorestream.infra.storage import csv_files
from scorestream.tabular.drift.job import DriftOptions, check_drift
from scorestream.tabular.inference.job import ApplyOptions, explain_table, score_table
from scorestream.tabular.model.explain import explain_row, explain_rows
from scorestream.tabular.registry.loading import LoadedModel, load
from scorestream.tabular.training.data import ingest
from scorestream.tabular.training.data.ingest import read_batches, read_sample
from scorestream.tabular.training.runs.run_log import PROFILE
from tools.testkit import pyfuncs
from tools.testkit.models import (
    BOOSTED,
    DIAMOND_ROWS,
    DIAMONDS,
    LOAN_ROWS,
    LOANS,
    SMALL,
    loans,
    read_table,
    registry_of,
    run_of,
    settings_of,
    table_of,
    train,
    write_csv,
)

OVER = """candidates={boosted: {family: lightgbm, bags: 2, params: {n_estimators: 80},
  over: {family: linear, features: [carat, color], encode: {carat: {to: ramps, log: true}}}},
  trees: {family: xgboost, params: {n_estimators: 60}}}"""


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A store with champions of loans and of diamonds, the latter a blend over a linear model."""
    made = settings_of(tmp_path_factory.mktemp("models"))
    train(made, LOANS, *BOOSTED)
    # As if it were the best: what is told of a blend's parts must sum up as well.
    train(made, DIAMONDS, *SMALL, "blend=[boosted, trees]", OVER, "thresholds={}")
    return made


def loaded(settings: Settings, reference: str) -> LoadedModel:
    store = ModelStore.of(settings)
    return load(store, registry_of(settings).resolve(reference))


def damaged(count: int) -> list[dict[str, str]]:
    """Rows of loans; the second, third and last cannot be predicted."""
    rows = loans(count)
    rows[1]["education"] = "Doctor"
    rows[2]["loan_term"] = "ten"
    rows[-1] |= {"cibil_score": "9", "self_employed": "Maybe"}
    return rows


ERRORS = {
    1: "column education: 'Doctor' is none of Graduate, Not Graduate",
    2: "column loan_term: 'ten' is no number",
    -1: "column self_employed: 'Maybe' is none of No, Yes; column cibil_score: '9' is not between "
    "300 and 900",
}


def check_scored(given: list[dict[str, Any]], scored: list[dict[str, Any]]) -> None:
    assert [{k: row[k] for k in given[0]} for row in scored] == given
    bad = {place % len(given) for place in ERRORS}
    for place, text in ERRORS.items():
        assert scored[place]["error"] == text
        assert not scored[place]["prediction"]
        assert not scored[place]["probability"]
    good = [row for place, row in enumerate(scored) if place not in bad]
    assert not any(row["error"] for row in good)
    for row in good:
        assert (float(row["probability"]) > 0.5) == (row["prediction"] == "Approved")
    right = sum(row["prediction"] == row["loan_status"] for row in good)
    assert right > 0.97 * len(good)


@pytest.fixture
def in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables of some hundred rows are read in several batches, as larger ones are."""
    monkeypatch.setattr(ingest, "BATCH_ROWS", 64)
    monkeypatch.setattr(table_features, "BATCH_ROWS", 64)
    monkeypatch.setattr(csv_files, "BLOCK_BYTES", 4096)


@pytest.mark.usefixtures("in_batches")
def test_csv_comes_back_as_it_was(settings: Settings, tmp_path: Path) -> None:
    given = damaged(300)
    source = write_csv(tmp_path / "loans.csv", given)
    assert sum(batch.num_rows > 0 for batch in read_batches(str(source))) > 3
    out = tmp_path / "new" / "scored.csv"
    score_table(ApplyOptions("loan-approval@champion", str(source), str(out)), settings)
    with out.open(newline="", encoding="utf-8") as file:
        check_scored([dict(row) for row in given], list(csv.DictReader(file)))


@pytest.mark.usefixtures("in_batches")
@pytest.mark.parametrize("kind", ["parquet", "csv.gz", "delta"])
def test_other_tables_come_back_too(settings: Settings, tmp_path: Path, kind: str) -> None:
    given = damaged(200)
    source, out = str(tmp_path / "in.parquet"), str(tmp_path / f"out.{kind}")
    pq.write_table(table_of(given), source)
    if kind == "delta":
        source = str(tmp_path / "given")
        write_deltalake(source, table_of(given))
    assert sum(batch.num_rows > 0 for batch in read_batches(source)) > 3
    for _ in range(2):
        score_table(ApplyOptions("loan-approval/1", source, out), settings)
    scored = DeltaTable(out).to_pyarrow_table() if kind == "delta" else read_table(out)
    check_scored(given, scored.to_pylist())


def test_a_table_without_rows_or_columns_is_refused(settings: Settings, tmp_path: Path) -> None:
    source = tmp_path / "loans.csv"
    out = tmp_path / "out.csv"
    for rows, text in (
        ([{"loan_id": "1"}], "input of loan-approval: no column no_of_dependents"),
        ([{**loans(1)[0], "prediction": "x"}], "column prediction: is the name of a column"),
    ):
        write_csv(source, rows)
        with pytest.raises(InputError, match=text):
            score_table(ApplyOptions("loan-approval", str(source), str(out)), settings)
    source.write_text(LOAN_ROWS.read_text().splitlines()[0] + "\n")
    with pytest.raises(InputError, match="holds no row"):
        score_table(ApplyOptions("loan-approval", str(source), str(out)), settings)
    assert not out.exists()
    with pytest.raises(InputError, match="is there, and no Delta table"):
        score_table(ApplyOptions("loan-approval", str(LOAN_ROWS), str(tmp_path)), settings)
    for reference in ("loan-approval@nobody", "loan-approval/99", "nothing", "a b"):
        with pytest.raises(ModelError, match=reference):
            score_table(ApplyOptions(reference, str(LOAN_ROWS), str(out)), settings)


def test_as_an_mlflow_pyfunc_it_gives_labels_probabilities_or_a_table(settings: Settings) -> None:
    model: Any = loaded(settings, "loan-approval").pyfunc
    assert model.metadata.signature is not None
    assert model.metadata.load_input_example(None) is not None
    frame = pd.read_csv(LOAN_ROWS).head(20)
    frame = frame.astype(dict.fromkeys(frame.select_dtypes("number"), float))
    labels = model.predict(frame)
    assert set(labels) == {"Approved", "Rejected"}
    probability = model.predict(frame, params={"output": "probability"})
    assert ((probability > 0.5) == (labels == "Approved")).all()
    frame.loc[3, "education"] = "Doctor"
    table = model.predict(frame, params={"output": "table"})
    assert table["error"].notna().tolist() == [place == 3 for place in range(20)]
    with pytest.raises(InputError, match="row 4, column education"):
        model.predict(frame)


def test_any_other_pyfunc_is_applied_as_well(settings: Settings, tmp_path: Path) -> None:
    class Double(PythonModel):
        def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> Any:
            del context, params
            return model_input["x"] * 2

    frame = pd.DataFrame({"x": [1.0, 2.0]})
    save_model(
        str(tmp_path / "model"),
        python_model=Double(),
        signature=infer_signature(frame, frame["x"].to_numpy()),
        input_example=frame,
        pip_requirements=[],
    )
    registry = registry_of(settings)
    made = registry.register("double", f"file://{tmp_path}/model", "", "twice x", tags={})
    registry.promote(made)
    source = write_csv(tmp_path / "x.csv", [{"x": "three", "y": "a"}])
    pq.write_table(pa.table({"x": [3.0], "y": ["a"]}), tmp_path / "x.parquet")
    out = str(tmp_path / "out.parquet")
    score_table(ApplyOptions("double", str(tmp_path / "x.parquet"), out), settings)
    assert read_table(out).to_pylist() == [{"x": 3.0, "y": "a", "prediction": 6.0, "error": None}]
    numbers = [{"x": "3", "y": "a"}, {"x": "", "y": "b"}, {"x": "-1.5", "y": "c"}]
    write_csv(tmp_path / "numbers.csv", numbers)
    pq.write_table(pa.table({"x": [3, None, -1]}), tmp_path / "whole.parquet")
    for name, last in (("numbers.csv", -3.0), ("whole.parquet", -2.0)):
        score_table(ApplyOptions("double", str(tmp_path / name), out), settings)
        found = read_table(out)["prediction"].to_pylist()
        assert (found[0], found[2]) == (6.0, last)
        assert found[1] is None or np.isnan(found[1])
    with pytest.raises(InputError, match=r"double/1: column x, row 1: 'three' is no double"):
        score_table(ApplyOptions("double", str(source), out), settings)
    write_csv(tmp_path / "other.csv", [{"y": "a"}])
    with pytest.raises(InputError, match=r"double/1: no column x"):
        score_table(ApplyOptions("double", str(tmp_path / "other.csv"), out), settings)
    with pytest.raises(ModelError, match="was not trained here"):
        explain_table(ApplyOptions("double", str(source), out), settings)


def test_a_model_of_scikit_learn_is_never_given_a_table_without_rows(tmp_path: Path) -> None:
    frame = pd.DataFrame({"x": [1.0, 2.0, 3.0]})
    fitted = LinearRegression().fit(frame, frame["x"] * 2)
    signature = infer_signature(frame, frame["x"].to_numpy())
    save_sklearn(fitted, str(tmp_path / "model"), signature=signature, pip_requirements=[])
    settings, out = settings_of(tmp_path), str(tmp_path / "out.parquet")
    made = registry_of(settings).register(
        "line", f"file://{tmp_path}/model", "", "twice x", tags={}
    )
    path = write_csv(tmp_path / "x.csv", [{"x": "4"}, {"x": "0.5"}])
    score_table(ApplyOptions(str(made), str(path), out), settings)
    assert read_table(out)["prediction"].to_pylist() == pytest.approx([8.0, 1.0])
    with pytest.raises(InputError, match="line/1: no column x"):
        loaded(settings, str(made)).predict(pa.table({"y": pa.array([], pa.float64())}))


def test_one_column_a_model_gives_and_a_value_a_row(tmp_path: Path) -> None:
    settings, rows = settings_of(tmp_path), pa.table({"x": [1.0, 2.0]})
    given: dict[str, tuple[str, str | list[float]]] = {
        "column": ("rows[['x']].to_numpy()", [1.0, 2.0]),
        "many": ("np.zeros(5)", "many/1: gives 5 values for 2 rows"),
        "wide": ("np.zeros((2, 3))", "wide/1: "),
        "silent": ("next(iter(()))", "silent/1: "),
    }
    for name, (expression, expected) in given.items():
        model = loaded(settings, str(pyfuncs.register(settings, tmp_path, name, expression)))
        if isinstance(expected, list):
            assert model.predict(rows).values.to_pylist() == expected
        else:
            with pytest.raises(InputError, match=expected):
                model.predict(rows)


def test_terms_sum_to_the_prediction(settings: Settings) -> None:
    for name, path in (("diamonds", DIAMOND_ROWS), ("loan-approval", LOAN_ROWS)):
        model = loaded(settings, name).tabular
        rows = read_table(str(path)).slice(0, 400)
        explained = explain_rows(model, rows)
        assert explained.errors.null_count == 400
        total = explained.start + sum(explained.terms.values())
        found = model.predict(rows)
        if name == "diamonds":
            assert np.abs(total - np.asarray(found.values)).max() < 1e-3
        else:
            p = np.asarray(found.probability)
            assert np.abs(1 / (1 + np.exp(-total)) - p).max() < 1e-4
        table_features = model.features(model.check(rows).rows)
        for part in model.parts:
            # As the family's library tells them: the model's sum is made to fit.
            x = part.preparation.encode(table_features)
            told = part.fitted.contributions(x).sum(axis=-1)
            assert np.abs(told - part.fitted.margin(x)).max() < 1e-3
        margin = model.margin(table_features)
        parts, start = model.contributions(table_features)
        assert np.abs(start + sum(parts.values()) - margin).max() < 1e-3


def test_a_price_has_its_reasons_in_dollars(settings: Settings) -> None:
    model = loaded(settings, "diamonds").tabular
    row = {"carat": "2.01", "cut": "Ideal", "color": "D", "clarity": "VS2", "depth": "61.5"}
    row |= {"table": "56", "x": "0", "y": "8.1", "z": "5.0"}
    found = explain_row(model, row)
    assert found.total == pytest.approx(found.prediction, abs=1e-3)
    assert found.start + sum(r.amount for r in found.reasons) == pytest.approx(found.total)
    carat = next(reason for reason in found.reasons if reason.feature == "carat")
    dollars = f"+${carat.amount:,.0f}".replace(",", " ")
    assert carat.text == f"{dollars}: carat 2.01 against an average of 0.7917"
    with pytest.raises(InputError, match="row 1, column cut: 'Superb' is none of Fair"):
        explain_row(model, row | {"cut": "Superb"})


@pytest.mark.usefixtures("in_batches")
def test_explained_tables_have_a_term_a_feature(settings: Settings, tmp_path: Path) -> None:
    given = damaged(140)
    source, out = write_csv(tmp_path / "loans.csv", given), tmp_path / "out.parquet"
    options = ApplyOptions("loan-approval", str(source), str(out), top=2)
    explain_table(options, settings)
    rows = read_table(str(out)).to_pylist()
    assert [row["loan_id"] for row in rows] == [row["loan_id"] for row in given]
    assert {place % 140 for place in ERRORS} == {i for i, row in enumerate(rows) if row["error"]}
    assert rows[1]["reasons"] is None
    assert rows[1]["term_cibil_score"] is None
    assert rows[0]["reasons"].count(";") == 1
    assert "log-odds of approval: " in rows[0]["reasons"]


def test_drift_is_told_by_exit_code_page_and_numbers(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    check_drift(DriftOptions("loan-approval", str(LOAN_ROWS)), settings)
    told = capsys.readouterr().out
    assert "no drift in" in told
    assert "a sample of" not in told
    rows = loans(1000)
    for place, row in enumerate(rows):
        row["income_annum"] = str(int(row["income_annum"]) // 3)
        row["education"] = "" if place % 4 == 0 else row["education"]
    moved = write_csv(tmp_path / "moved.csv", rows)
    out = tmp_path / "report"
    with pytest.raises(DriftFound, match="income_annum") as caught:
        check_drift(DriftOptions("loan-approval@champion", str(moved), str(out)), settings)
    assert caught.value.exit_code == 4
    numbers = json.loads((out / "drift.json").read_text())
    assert {"income_annum", "education", "loan_to_income"} <= set(numbers["drifted"])
    assert "cibil_score" not in numbers["drifted"]
    assert {"prediction", "probability"} <= numbers["columns"].keys()
    assert numbers["columns"]["education"]["missing"] == pytest.approx(0.25)
    page = (out / "drift.html").read_text(encoding="utf-8")
    assert page.count("<svg") == len(numbers["columns"])
    assert ElementTree.fromstring(page[page.index("<svg") : page.index("</svg>") + 6]) is not None
    check_drift(DriftOptions("loan-approval", str(moved), psi=50.0, missing=0.5), settings)


@pytest.mark.usefixtures("in_batches")
def test_of_more_rows_than_one_process_holds_drift_sees_a_sample(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings, data = settings_of(tmp_path), write_csv(tmp_path / "loans.csv", loans(1000))
    train(settings, LOANS, *BOOSTED, "collect_at_most=1000", "thresholds={}", data=data)
    out = str(tmp_path / "report")
    check_drift(DriftOptions("loan-approval", str(LOAN_ROWS), out), settings)
    numbers = json.loads(Path(out, "drift.json").read_text())
    assert numbers["rows"] == 3415
    assert 500 < numbers["sample"] <= 1000
    told = f"a sample of {numbers['sample']:,} of 3,415 rows"
    page = Path(out, "drift.html").read_text(encoding="utf-8")
    assert f"A sample of {numbers['sample']:,} of 3,415 rows of" in page
    assert told in capsys.readouterr().out
    rows, count = read_sample(str(LOAN_ROWS), 1000)
    assert (rows.num_rows, count) == (numbers["sample"], 3415)
    places = {row["loan_id"]: place for place, row in enumerate(loans())}
    found = [places[row["loan_id"]] for row in rows.to_pylist()]
    assert found == sorted(found)
    assert np.mean(found) == pytest.approx(3415 / 2, rel=0.1)


def test_drift_of_a_model_of_another_version_is_one_clear_error(
    settings: Settings, tmp_path: Path
) -> None:
    run = run_of(settings, registry_of(settings).resolve("diamonds"))
    profile = json.loads(run.read_file(PROFILE))
    run.log_files({PROFILE: json.dumps(profile | {"format": 2})})
    with pytest.raises(ModelError, match=r"profile.json: written by another version: format"):
        check_drift(DriftOptions("diamonds", str(DIAMOND_ROWS)), settings)
