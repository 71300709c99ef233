"""A scorer is one file: everything else derives from what it declares."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pyarrow as pa
import pytest

from scorestream.infra.config.settings import PROJECT_ROOT
from scorestream.wallets.core.scorer import (
    Declaration,
    Feature,
    PartialScore,
    union_of_features,
    union_of_partial_scores,
)
from scorestream.wallets.scorers.dex_v1.scorer import DexV1
from scorestream.wallets.scorers.registry import (
    SCORERS,
    by_name,
)
from tools.testkit.golden import differences, golden_wallets
from tools.testkit.scorer_package import install_scorer

# All that a newcomer writes: a class, found by an entry point of the package that it is in.
SCORER = '''
"""A scorer of the busy: points for each transaction, and for each day that they span."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from scorestream.infra.config.frozen_model import FrozenModel
from scorestream.wallets.core.scorer import Declaration, Feature, PartialScore, WalletScores

DAY = 86_400


class Constants(FrozenModel):
    points_each: float


@dataclass(frozen=True)
class Busy:
    constants: Constants
    config_hash: str
    declaration = Declaration(
        name="busy-v1",
        category="dexes",
        features=(
            Feature("transactions", "transactions", pa.int64()),
            Feature("account_age_days", "days from the first to the last transaction"),
        ),
        partial_scores=(
            PartialScore("busy", "score of being busy", {"count": "transactions", "age": "days"}),
        ),
    )

    @classmethod
    def configure(cls, scoring, constants, stable_symbols):
        return cls(Constants(**constants), f"{scoring}-{constants['points_each']}")

    def score(self, rows, as_of):
        wallet, seconds = np.asarray(rows["message"]), np.asarray(rows["timestamp"])
        count = np.bincount(wallet, minlength=len(as_of))
        starts = np.cumsum(count) - count
        first, last = (f.reduceat(seconds, starts) for f in (np.minimum, np.maximum))
        age = (last - first) / DAY
        parts = {"count": count * self.constants.points_each, "age": age}
        total = parts["count"] + parts["age"]
        return WalletScores(
            final=total,
            partial={"busy": total},
            parts={"busy": parts},
            features={"transactions": count, "account_age_days": age},
            tags=pa.array([["Busy"]] * len(as_of), pa.list_(pa.string())),
        )
'''
BOTH = """
name: both
categories:
  dexes: {scoring: dex-v1, weight: 3}
  lending: {scoring: lending-v1, weight: 1}
"""
SCORE_GOLDEN = """
import json, sys
from pathlib import Path
from scorestream.infra.config.settings import PROJECT_ROOT
from scorestream.wallets.execution.configured_scoring import build_scorings
from scorestream.wallets.reference.reference_data import load_conf_reference
from scorestream.wallets.execution.result_messages import success_records
from scorestream.wallets.execution.scoring_task import score_records
from scorestream.wallets.execution.table_rows import BatchFacts, table_rows
from scorestream.wallets.schema.tables import SCORES
from scorestream.wallets.schema.views import VIEWS
from tools.testkit.golden import golden_records
from tools.testkit.records import records_of

stable = load_conf_reference(PROJECT_ROOT / "conf").stable_symbols
found = {"leaderboard": next(view.sql for view in VIEWS if view.name == "leaderboard")}
found["added"] = sorted(SCORES.added_later)
found["growing"] = sorted(SCORES.growing)
names = ("busy-v1", "dex-v1", "both")
scorings = build_scorings(Path(sys.argv[1]), names, stable)
records = records_of(golden_records())
[(scored, _)] = score_records([records], scorings, include_transactions=False)
facts = BatchFacts("run", 0, 1.7e9, code_version="1")
rows = table_rows(scored, records, facts)[SCORES].sort_by("source_offset")
assert rows.schema == SCORES.columns
plain = [row | {"zscore": str(row["zscore"])} for row in rows.to_pylist()]
messages = [json.loads(record.value) for record in success_records(rows)]
for name in names:
    found[name] = {
        "rows": [row for row in plain if row["scoring"] == name],
        "messages": [message for message in messages if message["scoring"] == name],
    }
print(json.dumps(found, default=str))
"""


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Rows and messages of the golden wallets by a scorer of another package, and by `dex-v1`."""
    folder = tmp_path_factory.mktemp("package")
    (folder / "busy_scorer.py").write_text(SCORER, encoding="utf-8")
    install_scorer(folder, "busy_scorer", "busy_scorer:Busy")
    install_scorer(folder, "lending_scorer", "tools.testkit.lending:Lending")
    constants = folder / "conf" / "scoring"
    constants.mkdir(parents=True)
    (constants / "busy-v1.yaml").write_text("name: busy-v1\npoints_each: 10\n")
    (constants / "lending-v1.yaml").write_text("name: lending-v1\npoints_each: 5\n")
    (constants / "both.yaml").write_text(BOTH)
    dex = (PROJECT_ROOT / "conf" / "scoring" / "dex-v1.yaml").read_text(encoding="utf-8")
    (constants / "dex-v1.yaml").write_text(dex, encoding="utf-8")
    path = os.pathsep.join([str(PROJECT_ROOT / "lib"), str(PROJECT_ROOT), str(folder)])
    done = subprocess.run(
        [sys.executable, "-c", SCORE_GOLDEN, str(folder / "conf")],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_scorer_of_another_package_scores(scored: dict[str, Any]) -> None:
    for golden, row in zip(golden_wallets(), scored["busy-v1"]["rows"], strict=True):
        count = golden.expected["transaction_count"]
        age = golden.expected["features"]["account_age_days"]
        assert row["breakdown"]["busy"] == {"count": 10.0 * count, "age": pytest.approx(age)}
        assert row["busy_score"] == row["final_score"] == pytest.approx(10 * count + age)
        assert row["zscore"] == f"{row['final_score']:.18f}"
        assert (row["scoring"], row["config_hash"]) == ("busy-v1", "busy-v1-10")
        assert (row["features"]["transactions"], row["tags"]) == (count, ["Busy"])


def test_what_a_scorer_does_not_have_is_null_in_rows_and_absent_in_messages(
    scored: dict[str, Any],
) -> None:
    [row, *_], [message, *_] = scored["busy-v1"]["rows"], scored["busy-v1"]["messages"]
    assert row["lp_score"] is row["swap_score"] is row["breakdown"]["lp"] is None
    assert row["features"]["num_swaps"] is None
    [category] = message["categories"]
    assert category["features"].keys() == {
        *("transactions", "account_age_days", "busy_score", "final_score")
    }
    assert message["breakdown"].keys() == {"busy"}


def test_another_scorer_changes_no_digit_of_dex_v1(scored: dict[str, Any]) -> None:
    for golden, row in zip(golden_wallets(), scored["dex-v1"]["rows"], strict=True):
        assert differences(row, golden.expected) == []
        assert row["busy_score"] is None
    for message in scored["dex-v1"]["messages"]:
        assert message["breakdown"].keys() == {"lp", "swap"}
        assert "busy_score" not in message["categories"][0]["features"]


def test_a_scoring_of_several_categories_is_that_of_those_that_a_message_has(
    scored: dict[str, Any],
) -> None:
    # Some have entries of lending that are of another kind, and are rejected.
    golden = golden_wallets()
    lenders = {at for at, each in enumerate(golden) if '"lending"' in json.dumps(each.message)}
    rows = scored["both"]["rows"]
    assert {row["source_offset"] for row in rows} == set(range(len(golden))) - lenders
    for row in rows:
        assert differences(row, golden[row["source_offset"]].expected) == []
        assert row["repayment_score"] is row["features"]["num_loans"] is None
        assert [name for name, _ in row["categories"]] == ["dexes"]
    for message in scored["both"]["messages"]:
        [category] = message["categories"]
        assert category["category"] == "dexes"
        assert message["breakdown"].keys() == {"lp", "swap"}


def test_older_tables_get_the_columns_and_fields_of_a_new_scorer(scored: dict[str, Any]) -> None:
    assert "busy_score" in scored["added"]
    assert "lp_score" not in scored["added"]
    assert scored["growing"] == ["breakdown", "features"]


def test_views_have_the_partial_scores_of_all_scorers(scored: dict[str, Any]) -> None:
    assert "lp_score, swap_score, busy_score, repayment_score" in scored["leaderboard"]


def declaration(name: str, kind: pa.DataType, parts: dict[str, str]) -> Declaration:
    return Declaration(name, "dexes", (Feature("n", "", kind),), (PartialScore("lp", name, parts),))


def test_features_of_one_name_have_one_type() -> None:
    one, other = declaration("one", pa.int64(), {}), declaration("other", pa.float64(), {})
    assert union_of_features([one, one]) == one.features
    with pytest.raises(ValueError, match="the feature n of other is double, of another scorer"):
        union_of_features([one, other])


def test_a_partial_score_has_the_parts_of_all_its_scorers() -> None:
    one = declaration("one", pa.int64(), {"a": "A", "b": "B"})
    other = declaration("other", pa.int64(), {"b": "B too", "c": "C"})
    [lp] = union_of_partial_scores([one, other])
    assert (lp.meaning, list(lp.parts)) == ("one", ["a", "b", "c"])


def test_two_scorers_of_one_name_are_refused() -> None:
    class Other(DexV1):
        pass

    assert SCORERS["dex-v1"] is DexV1
    with pytest.raises(ValueError, match="two scorers are called dex-v1"):
        by_name([DexV1, Other])


@pytest.mark.parametrize(
    ("category", "feature", "told"),
    [
        ("lending", "n", "toy scores lending: only of dexes is known what a transaction is"),
        ("dexes", "Final_Score", "final_score: two features or scores are called so"),
        ("dexes", "lp_score", "lp_score: two features or scores are called so"),
    ],
)
def test_what_nobody_could_tell_apart_is_refused(category: str, feature: str, told: str) -> None:
    class Toy(DexV1):
        declaration = Declaration("toy", category, (Feature(feature, ""),), ())

    with pytest.raises(ValueError, match=told):
        by_name([DexV1, Toy])
