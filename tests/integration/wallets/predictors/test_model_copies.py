"""Registered models as they are tried, loaded and called, out of a real store."""

from __future__ import annotations

import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pyarrow.fs import FileSystem, LocalFileSystem, SubTreeFileSystem
from pydantic import SecretStr

from scorestream.infra.delta.warehouse import Warehouse
from scorestream.infra.errors import ModelError
from scorestream.infra.mlflow.model_copies import ModelCopies
from scorestream.infra.mlflow.model_version import Version
from scorestream.infra.mlflow.store import ModelStore
from scorestream.infra.spark.process_isolation import Isolation, WorkFailed
from scorestream.infra.storage.filesystem import copy_folder, file_sizes, filesystem_of
from scorestream.wallets.core.pipeline import Scored, score_messages
from scorestream.wallets.core.scoring import Scoring
from scorestream.wallets.execution.scoring_task import commit_files, score_records, write_scored
from scorestream.wallets.execution.table_rows import BatchFacts
from scorestream.wallets.predictors.active_models import ActiveModels
from scorestream.wallets.predictors.apply import ModelApplier, predict_values
from scorestream.wallets.predictors.batch_models import BatchModel, ModelUse
from scorestream.wallets.predictors.config import WalletModel
from scorestream.wallets.predictors.events import NoModelEvents
from scorestream.wallets.predictors.pyfunc import get_loaded_copy, load_copy
from scorestream.wallets.predictors.trial import TRIAL_SECONDS, build_trial_rows, try_version
from scorestream.wallets.schema.tables import SCORES
from scorestream.wallets.schema.views import CATALOG
from scorestream.wallets.stream.metrics import StreamMetrics
from tools.local.ports import HOST
from tools.testkit.golden import configured_scoring, golden_records, golden_wallets
from tools.testkit.models import settings_of, train, write_csv
from tools.testkit.pyfuncs import WRONG, register
from tools.testkit.records import records_of

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


def until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 100
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def scored_wallets() -> Scored:
    golden = golden_wallets()[:5]
    moments = np.array([g.as_of for g in golden])
    return score_messages([g.value for g in golden], moments, (configured_scoring(),))


def copied(
    folder: Path, expression: str, columns: tuple[str, ...] = (), name: str = "given"
) -> Version:
    """A model that gives an expression, in the warehouse."""
    settings = settings_of(folder)
    register(settings, folder, name, expression, columns=columns)
    copies = ModelCopies(settings)
    version = copies.resolve(name)
    copies.fetch(version)
    return version


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_not_one_number_a_wallet_is_told(wrong: str, folder: Path) -> None:
    version = copied(folder, wrong)
    with pytest.raises(Exception, match=WRONG[wrong]):
        predict_values(version, build_trial_rows())


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("rows['num_swaps'] > 500", [0.0, 0.0, 1.0]),
        ("[None, float('nan'), 2]", [None, None, 2.0]),
        ("[1, np.inf, -np.inf]", [1.0, None, None]),
        ("rows[['num_swaps', 'lp_score']] * 1.5", [1.5, 0.0, 900.0]),
        ("rows[['num_swaps']].to_numpy()", [1.0, 0.0, 600.0]),
        ("[1 / row for row in rows['num_swaps']]", [1.0, None, 1 / 600]),
    ],
)
def test_values_are_floats_or_null(
    expression: str, expected: list[float | None], folder: Path
) -> None:
    assert predict_values(copied(folder, expression), build_trial_rows()).to_pylist() == expected


def test_a_signature_gets_its_columns_in_its_types(folder: Path) -> None:
    columns = ("num_swaps", "lp_score")
    count = "[float(len(rows.columns)) + (rows.dtypes == 'float64').all()] * len(rows)"
    assert (
        predict_values(copied(folder, count, columns), build_trial_rows()).to_pylist() == [3.0] * 3
    )
    with pytest.raises(Exception, match="no column no_such"):
        predict_values(copied(folder, "rows['no_such']", ("no_such",)), build_trial_rows())


@pytest.mark.parametrize(
    ("expression", "told"),
    [
        ("__import__('os')._exit(9)", "exit code 9"),
        ("[None] * len(rows)", "has no value for any wallet"),
    ],
)
def test_a_model_that_is_good_for_nothing_is_only_refused(
    expression: str, told: str, folder: Path
) -> None:
    settings = settings_of(folder)
    register(settings, folder, "nothing", expression)
    copies = ModelCopies(settings)
    with pytest.raises((WorkFailed, ModelError), match=told):
        try_version(copies, copies.resolve("nothing"))


def test_each_version_has_the_code_that_it_brought_along(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Modules of one name, imported when the model is loaded, and at the first call."""
    for factor in (2, 3):
        for module in ("early", "late"):
            (folder / f"{module}.py").write_text(f"FACTOR = {factor}\n", encoding="utf-8")
        with monkeypatch.context() as patched:
            # MLflow executes a model when it logs it, too.
            patched.syspath_prepend(str(folder))
            register(
                settings_of(folder),
                folder,
                "brings",
                "rows['num_swaps'] * early.FACTOR * __import__('late').FACTOR",
                modules=[folder / "early.py", folder / "late.py"],
                imports="import early",
            )
        sys.modules.pop("early")
    copies = ModelCopies(settings_of(folder))
    versions = [copies.resolve(f"brings/{number}") for number in (1, 2)]
    for version in versions:
        copies.fetch(version)
    found = [predict_values(version, build_trial_rows())[0].as_py() for version in versions * 2]
    assert found == [4.0, 9.0, 4.0, 9.0]
    assert not {"early", "late"} & sys.modules.keys()


def test_a_copy_that_lacks_something_is_made_again(folder: Path) -> None:
    version = copied(folder, "rows['num_swaps'] * 2.0", name="torn")
    copies, files = ModelCopies(settings_of(folder)), file_sizes(version.uri)
    for name in files:
        place = Path(version.uri) / name
        content = place.read_bytes()
        place.write_bytes(content[: len(content) // 2])
        copies.fetch(version)
        assert place.read_bytes() == content
        place.unlink()
        copies.fetch(version)
        assert place.read_bytes() == content
    assert file_sizes(version.uri) == files


def test_two_may_copy_a_version_at_the_same_time(folder: Path) -> None:
    register(settings_of(folder), folder, "wanted", "rows['num_swaps'] * 2.0")
    copies = ModelCopies(settings_of(folder))
    version = copies.resolve("wanted")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(copies.fetch, [version] * 8))
    assert predict_values(version, build_trial_rows()).to_pylist() == [2.0, 0.0, 1200.0]
    assert [path.name for path in Path(version.uri).parent.iterdir()] == [Path(version.uri).name]


def test_what_served_last_is_noted_by_reference(folder: Path) -> None:
    settings = settings_of(folder)
    copies = ModelCopies(settings)
    versions = {
        f"noted/{n}": Version("noted", str(n), f"{settings.warehouse}/_models/noted/{n}-x")
        for n in (1, 2)
    }
    before = Version("noted", "3", f"{settings.warehouse}/_models/noted/3-x")
    for reference, version in versions.items():
        copies.record_active_versions(reference, [version, before])
    assert {r: copies.read_active_versions(r, "noted") for r in versions} == {
        reference: [version, before] for reference, version in versions.items()
    }
    assert copies.read_active_versions("noted@champion", "noted") == []
    another = SecretStr(f"sqlite:///{folder}/b.db")
    other = settings.model_copy(update={"mlflow_tracking_uri": another})
    assert ModelCopies(other).read_active_versions("noted/1", "noted") == []
    for path in Path(settings.warehouse, "_models", "noted").glob("*.json"):
        path.write_text('{"refer', encoding="utf-8")
    assert copies.read_active_versions("noted/1", "noted") == []


def test_a_registry_that_never_answers_is_asked_once_and_holds_up_no_batch(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = copied(folder, "rows['num_swaps'] * 2.0", name="waits")
    settings = settings_of(folder)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "300")
    monkeypatch.setattr("scorestream.wallets.predictors.active_model.START_SECONDS", 0.1)
    with socket.create_server((HOST, 0)) as silent:
        uri = SecretStr(f"http://{HOST}:{silent.getsockname()[1]}")
        hanging = settings.model_copy(update={"mlflow_tracking_uri": uri})
        ModelCopies(hanging).record_active_versions("waits", [version])
        active_models = ActiveModels(
            [WalletModel(model="waits")], hanging, NoModelEvents(), pause=0.0, patience=0.1
        )
        active_models.start()
        for _ in range(3):
            assert active_models.refresh() == (BatchModel(version),)
        with silent.accept()[0]:
            silent.settimeout(0)
            with pytest.raises(BlockingIOError):
                silent.accept()


def test_what_serves_and_fails_for_want_of_its_copy_gets_a_new_one(folder: Path) -> None:
    settings = settings_of(folder)
    register(settings, folder, "lost", "rows['num_swaps'] * 2.0")
    active_models = ActiveModels(
        [WalletModel(model="lost")], settings, NoModelEvents(), pause=0.0, patience=TRIAL_SECONDS
    )
    active_models.start()
    [batch_model] = active_models.batch_models
    shutil.rmtree(batch_model.version.uri)
    active_models.record_uses([ModelUse(batch_model.version, 5, 5, 0.1, "no such file")])
    assert active_models.refresh() == (batch_model,)
    with ModelApplier(active_models.batch_models) as applier:
        rows = applier.apply(scored_wallets()).scores["models"].to_pylist()
    assert all(dict(each)["lost"]["value"] is not None for each in rows)


def test_a_version_steps_back_that_fails_for_one_wallet_after_the_other(folder: Path) -> None:
    settings = settings_of(folder)
    register(settings, folder, "single", "rows['num_swaps'] * 2.0")
    active_models = ActiveModels(
        [WalletModel(model="single")], settings, NoModelEvents(), pause=0.0, patience=TRIAL_SECONDS
    )
    active_models.start()
    first = active_models.batch_models[0].version
    register(settings, folder, "single", "rows['num_swaps'] * 3.0")
    [batch_model] = active_models.refresh()
    failed, worked = (ModelUse(batch_model.version, 1, 1, 0.1, why) for why in ("no", None))
    one_of_many = [worked, *[failed] * 3]
    for uses in ([failed], [failed], [worked], [failed], one_of_many, [failed]):
        active_models.record_uses(uses)
        assert active_models.refresh() == (batch_model,)
    active_models.record_uses([failed])
    assert active_models.refresh() == (BatchModel(first),)


def test_what_fails_and_nothing_stands_in_for_is_copied_anew_however_often_it_fails(
    folder: Path,
) -> None:
    settings = settings_of(folder)
    register(settings, folder, "alone", "rows['num_swaps'] * 2.0")
    active_models = ActiveModels(
        [WalletModel(model="alone")], settings, NoModelEvents(), pause=0.2, patience=TRIAL_SECONDS
    )
    active_models.start()
    [batch_model] = active_models.batch_models
    copy = Path(batch_model.version.uri)
    shutil.rmtree(copy)
    for _ in range(20):
        active_models.record_uses([ModelUse(batch_model.version, 5, 5, 0.1, "no such file")])
    until(lambda: active_models.refresh() == (batch_model,) and copy.exists())


def test_a_version_that_is_refused_alarms_whenever_the_registry_names_it(folder: Path) -> None:
    settings, metrics = settings_of(folder), StreamMetrics()
    client = ModelStore.of(settings).client
    register(settings, folder, "refused", "rows['num_swaps'] * 2.0")
    active_models = ActiveModels(
        [WalletModel(model="refused")], settings, metrics, pause=3600.0, patience=TRIAL_SECONDS
    )
    active_models.start()
    register(settings, folder, "refused", "1 / 0")
    alarms = []
    for champion in ("2", "1", "2"):
        client.set_registered_model_alias("refused", "champion", champion)
        assert [str(batch_model.version) for batch_model in active_models.refresh()] == [
            "refused/1"
        ]
        found = metrics.registry.get_sample_value("scorestream_model_alarm", {"model": "refused"})
        alarms.append(found)
    assert alarms == [1.0, 0.0, 1.0]


def test_a_trial_that_takes_long_holds_up_no_batch(folder: Path) -> None:
    settings, go = settings_of(folder), folder / "go"
    register(settings, folder, "slow", "rows['num_swaps'] * 2.0")
    active_models = ActiveModels(
        [WalletModel(model="slow")], settings, NoModelEvents(), pause=0.0, patience=0.0
    )
    active_models.start()
    [first] = active_models.batch_models
    waits = f"next(1.0 for _ in iter(int, 1) if __import__('os').path.exists({str(go)!r}))"
    register(settings, folder, "slow", f"rows['num_swaps'] * {waits}")
    until(lambda: active_models.refresh() == (first,))
    assert active_models.refresh() == (first,)
    go.touch()
    until(lambda: str(active_models.refresh()[0].version) == "slow/2")
    assert active_models.batch_models[0].fallback == first.version


def test_a_start_knows_the_version_before(folder: Path) -> None:
    settings = settings_of(folder)
    found = []
    for _ in range(2):
        register(settings, folder, "again", "rows['num_swaps'] * 2.0")
        active_models = ActiveModels([WalletModel(model="again")], settings, NoModelEvents())
        active_models.start()
        [batch_model] = active_models.batch_models
        active_models.record_uses([ModelUse(batch_model.version, 5, 0, 0.1, None)])
        found.append(batch_model.version)
    later = ActiveModels([WalletModel(model="again")], settings, NoModelEvents())
    later.start()
    assert later.batch_models == (BatchModel(found[1], found[0]),)


def test_a_copy_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "part").mkdir(parents=True)
    (source / "part" / "file").write_text("content", encoding="utf-8")
    target.mkdir()
    (target / "part").write_text("no folder", encoding="utf-8")
    with pytest.raises(OSError, match="part"):
        copy_folder(str(source), str(target))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source", "target"]


def test_of_an_object_store_a_machine_fetches_a_copy_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A subtree file system stands for the store: to Arrow it is not the local one."""
    version = copied(folder, "rows['num_swaps'] * 2.0", name="far")
    far = replace(version, uri="far://copy")

    def of(uri: str) -> tuple[FileSystem, str]:
        if not uri.startswith("far://"):
            return filesystem_of(uri)
        return SubTreeFileSystem(version.uri.removeprefix("file://"), LocalFileSystem()), ""

    for module in ("infra.storage.filesystem", "wallets.predictors.pyfunc"):
        monkeypatch.setattr(f"scorestream.{module}.filesystem_of", of)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for _ in range(2):
        loaded = load_copy(far)
        assert loaded.predict(build_trial_rows()).to_pylist() == [2.0, 0.0, 1200.0]
    [own] = tmp_path.iterdir()
    [fetched] = own.iterdir()
    model = fetched / "MLmodel"
    model.write_text("torn", encoding="utf-8")
    assert load_copy(far).predict(build_trial_rows()).to_pylist() == [2.0, 0.0, 1200.0]
    assert list(own.iterdir()) == [fetched]
    own.chmod(0o777)
    with pytest.raises(ModelError, match="is not this user's alone"):
        load_copy(far)


def test_a_process_holds_the_newest_versions_of_a_model(
    folder: Path,
) -> None:
    settings = settings_of(folder)
    found = []
    for factor in (1, 2, 3):
        register(settings, folder, "held", f"rows['num_swaps'] * {factor}")
        active_models = ActiveModels([WalletModel(model="held")], settings, NoModelEvents())
        active_models.start()
        [batch_model] = active_models.batch_models
        found.append(get_loaded_copy(batch_model.version))
    oldest, *newest = found
    assert all(get_loaded_copy(model.version) is model for model in newest)
    assert get_loaded_copy(oldest.version) is not oldest


def test_a_classifier_of_ours_gives_its_probability(scoring: Scoring, folder: Path) -> None:
    """One that a configuration trains, over columns that wallets have."""
    settings = settings_of(folder)
    rows = [{"num_swaps": n % 90, "active": "yes" if n % 90 > 40 else "no"} for n in range(400)]
    write_csv(folder / "rows.csv", rows)
    (folder / "activity.yaml").write_text(ACTIVITY, encoding="utf-8")
    train(settings, folder / "activity.yaml")
    active_models = ActiveModels([WalletModel(model="activity")], settings, NoModelEvents())
    active_models.start()
    golden = golden_wallets()[:20]
    moments = np.array([g.as_of for g in golden])
    with ModelApplier(active_models.batch_models) as applier:
        scored = applier.apply(score_messages([g.value for g in golden], moments, (scoring,)))
    found = {
        row["features"]["num_swaps"]: dict(row["models"])["activity"]["value"]
        for row in scored.scores.to_pylist()
    }
    assert all(0 <= value <= 1 for value in found.values())
    assert found[min(found)] < 0.5 < found[max(found)]


@pytest.mark.parametrize(
    ("is_isolated", "expression", "told"),
    [
        (False, "1 / 0", "ZeroDivisionError: division by zero"),
        (True, "1 / 0", "ZeroDivisionError: division by zero"),
        (True, "__import__('os')._exit(9)", "it ended the process: exit code 9"),
        (True, "__import__('time').sleep(3600)", "it took longer than 30 s"),
    ],
)
def test_a_model_that_fails_leaves_the_scores_and_the_other_models(
    *, is_isolated: bool, expression: str, told: str, folder: Path
) -> None:
    good = copied(folder, "rows['num_swaps'] * 2.0")
    bad = copied(folder, expression, name="bad")
    scored = scored_wallets()
    with ModelApplier(
        [BatchModel(bad), BatchModel(good)], is_isolated=is_isolated, timeout=30.0
    ) as applier:
        rows = applier.apply(scored).scores
    assert rows.drop_columns(["models"]) == scored.scores
    assert [dict(each).keys() for each in rows["models"].to_pylist()] == [{"given"}] * 5
    assert [(use.version, use.problem) for use in applier.uses] == [(bad, told), (good, None)]


def test_what_ends_its_process_is_called_once_a_task(folder: Path) -> None:
    calls = folder / "calls"
    count = f"open({str(calls)!r}, 'a').write('x')"
    deadly = copied(folder, f"({count}, __import__('os')._exit(9))", name="once")
    with ModelApplier([BatchModel(deadly)], is_isolated=True) as applier:
        for _ in range(3):
            applier.apply(scored_wallets())
    assert {use.problem for use in applier.uses} == {"it ended the process: exit code 9"}
    assert [use.lacking for use in applier.uses] == [5] * 3
    assert calls.read_text(encoding="utf-8") == "x"


def test_a_batch_that_is_scored_once_more_isolates_models(
    scoring: Scoring, folder: Path, tmp_path: Path
) -> None:
    good = copied(folder, "rows['num_swaps'] * 2.0")
    deadly = copied(folder, "__import__('os')._exit(9)", name="deadly")
    warehouse = Warehouse(str(tmp_path), CATALOG)
    warehouse.create_tables()
    batch_models = (BatchModel(deadly), BatchModel(good))
    facts = BatchFacts("run", 0, 1.7e9, code_version="1", models=batch_models)
    isolation = Isolation.ALWAYS
    scored = score_records(
        [records_of(golden_records()[:5])],
        (scoring,),
        include_transactions=True,
        isolation=isolation,
        timeout=30.0,
    )
    report = write_scored(
        scored, warehouse.root, facts, include_transactions=True, isolation=isolation
    )
    assert [use.problem for use in report.models] == ["it ended the process: exit code 9", None]
    commit_files(warehouse, report.files, ("run", 0))
    assert [dict(row["models"]).keys() for row in warehouse.rows(SCORES)] == [{"given"}] * 5
