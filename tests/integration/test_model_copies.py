"""Registered models as they are tried, loaded and called, out of a real store."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from golden import golden_records, golden_wallets
from models import settings_of, train, write_csv
from pyfuncs import WRONG, register
from records import records_of
from scorestream.careful import Care, Undoable
from scorestream.core.dex_v1 import DexV1
from scorestream.core.pipeline import score_messages
from scorestream.io.delta.warehouse import Warehouse
from scorestream.io.mlflow.copies import ModelCopies, loaded_copy, loaded_versions
from scorestream.rows import BatchFacts
from scorestream.scoring import commit_files, score_records, write_scored
from scorestream.serving.applying import Applier, model_values
from scorestream.serving.choices import Choice, Version
from scorestream.serving.config import WalletModel
from scorestream.serving.serving import Serving, Unwatched, trial_rows, try_version
from scorestream.tables import SCORES

ACTIVITY = """
name: activity
description: Whether a wallet is active
task: classification
data: rows.csv
target: {column: active, labels: ["no", "yes"], positive: "yes"}
columns: {num_swaps: {kind: number, min: 0}}
search: {metric: log_loss, trials: 1, folds: 3, repeats: 1, workers: 1}
candidates: {plain: {family: logistic, params: {C: 10.0}}}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of one store and warehouse: to make a store takes longer than all else."""
    return tmp_path_factory.mktemp("store")


def copied(
    folder: Path, expression: str, columns: tuple[str, ...] = (), name: str = "given"
) -> Version:
    """A model that gives an expression, in the warehouse."""
    settings = settings_of(folder)
    register(settings, folder, name, expression, columns)
    copies = ModelCopies(settings)
    version = copies.resolve(name)
    copies.fetch(version)
    return version


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_not_one_number_a_wallet_is_told(wrong: str, folder: Path) -> None:
    version = copied(folder, wrong)
    with pytest.raises(Exception, match=WRONG[wrong]):
        model_values(version, trial_rows())


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("rows['num_swaps'] > 500", [0.0, 0.0, 1.0]),
        ("[None, float('nan'), 2]", [None, None, 2.0]),
        ("rows[['num_swaps', 'lp_score']] * 1.5", [0.0, 1.5, 1500.0]),
        ("rows[['num_swaps']].to_numpy()", [0.0, 1.0, 1000.0]),
    ],
)
def test_values_are_floats_or_null(
    expression: str, expected: list[float | None], folder: Path
) -> None:
    assert model_values(copied(folder, expression), trial_rows()).to_pylist() == expected


def test_a_signature_gets_its_columns_in_its_types(folder: Path) -> None:
    columns = ("num_swaps", "lp_score")
    count = "[float(len(rows.columns)) + (rows.dtypes == 'float64').all()] * len(rows)"
    assert model_values(copied(folder, count, columns), trial_rows()).to_pylist() == [3.0] * 3
    with pytest.raises(Exception, match="needs no_such: wallets have none"):
        model_values(copied(folder, "rows['no_such']", ("no_such",)), trial_rows())


def test_a_model_that_ends_its_process_is_only_refused(folder: Path) -> None:
    settings = settings_of(folder)
    register(settings, folder, "deadly", "__import__('os')._exit(9)")
    copies = ModelCopies(settings)
    with pytest.raises(Undoable, match="exit code 9"):
        try_version(copies, copies.resolve("deadly"))


def test_a_process_holds_the_newest_versions_of_a_model(
    folder: Path,
) -> None:
    settings = settings_of(folder)
    found = []
    for factor in (1, 2, 3):
        register(settings, folder, "held", f"rows['num_swaps'] * {factor}")
        serving = Serving([WalletModel(model="held")], settings, Unwatched())
        serving.start()
        [choice] = serving.choices
        loaded = loaded_copy(choice.version)
        assert loaded_copy(choice.version) is loaded
        found.append(choice.version)
    assert list(loaded_versions("held")) == [found[2], found[1]]


def test_a_classifier_of_ours_gives_its_probability(model: DexV1, folder: Path) -> None:
    """One that a configuration trains, over columns that wallets have."""
    settings = settings_of(folder)
    rows = [{"num_swaps": n % 90, "active": "yes" if n % 90 > 40 else "no"} for n in range(400)]
    write_csv(folder / "rows.csv", rows)
    (folder / "activity.yaml").write_text(ACTIVITY, encoding="utf-8")
    train(settings, folder / "activity.yaml")
    serving = Serving([WalletModel(model="activity")], settings, Unwatched())
    serving.start()
    golden = golden_wallets()[:20]
    moments = np.array([g.as_of for g in golden])
    with Applier(serving.choices) as applier:
        scored = applier.apply(score_messages([g.value for g in golden], moments, model))
    found = {
        row["features"]["num_swaps"]: dict(row["models"])["activity"]["value"]
        for row in scored.scores.to_pylist()
    }
    assert all(0 <= value <= 1 for value in found.values())
    assert found[min(found)] < 0.5 < found[max(found)]


@pytest.mark.parametrize(
    ("careful", "expression", "told"),
    [
        (False, "1 / 0", "ZeroDivisionError: division by zero"),
        (True, "1 / 0", "ZeroDivisionError: division by zero"),
        (True, "__import__('os')._exit(9)", "it ended the process: exit code 9"),
        (True, "__import__('time').sleep(3600)", "it took longer than 30 s"),
    ],
)
def test_a_model_that_fails_leaves_the_scores_and_the_other_models(
    careful: bool, expression: str, told: str, model: DexV1, folder: Path
) -> None:
    good = copied(folder, "rows['num_swaps'] * 2.0")
    bad = copied(folder, expression, name="bad")
    golden = golden_wallets()[:5]
    moments = np.array([g.as_of for g in golden])
    scored = score_messages([g.value for g in golden], moments, model)
    with Applier([Choice(bad), Choice(good)], careful, seconds=30.0) as applier:
        rows = applier.apply(scored).scores
    assert rows.drop_columns(["models"]) == scored.scores.drop_columns(["models"])
    assert [dict(each).keys() for each in rows["models"].to_pylist()] == [{"given"}] * 5
    assert [(use.version, use.problem) for use in applier.uses] == [(bad, told), (good, None)]


def test_a_batch_that_is_scored_once_more_takes_models_with_care(
    model: DexV1, folder: Path, tmp_path: Path
) -> None:
    good = copied(folder, "rows['num_swaps'] * 2.0")
    deadly = copied(folder, "__import__('os')._exit(9)", name="deadly")
    warehouse = Warehouse(str(tmp_path))
    warehouse.create_tables()
    choices = (Choice(deadly), Choice(good))
    facts = BatchFacts.of("run", 0, 1.7e9, model, "1", choices)
    care = Care(30.0, at_once=True)
    scored = score_records([records_of(golden_records()[:5])], model, True, care)
    report = write_scored(scored, warehouse.root, facts, True, care=care)
    assert [use.problem for use in report.models] == ["it ended the process: exit code 9", None]
    commit_files(warehouse, report.files, ("run", 0))
    assert [dict(row["models"]).keys() for row in warehouse.rows(SCORES)] == [{"given"}] * 5
