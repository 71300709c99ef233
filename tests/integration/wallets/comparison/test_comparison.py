"""Two scorings of the golden wallets compared, by models and by runs."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import yaml
from pyspark.sql import SparkSession

from scorestream.infra.config.settings import PROJECT_ROOT, Settings
from scorestream.infra.delta.warehouse import Warehouse
from scorestream.infra.errors import ConfigurationError, InputError
from scorestream.infra.kafka.producer import Record
from scorestream.wallets.comparison.figures import (
    BARS,
    CELLS,
    PERCENTS,
    Figures,
    Side,
)
from scorestream.wallets.comparison.job import CompareOptions, compare_scores
from scorestream.wallets.comparison.pairs import (
    bars_of,
    cells_of,
    figures_of,
    largest_moves,
    newest_scores,
    paired,
)
from scorestream.wallets.core.scoring import Scoring
from scorestream.wallets.execution.configured_scoring import load_scoring
from scorestream.wallets.execution.scoring_task import commit_files, score_records, write_scored
from scorestream.wallets.execution.table_rows import BatchFacts
from scorestream.wallets.schema.tables import SCORES
from tools.testkit.golden import golden_records
from tools.testkit.records import records_of

pytestmark = [pytest.mark.spark, pytest.mark.timeout(900)]

LEFT, RIGHT = Side("dex-v1"), Side("steeper")


@pytest.fixture
def settings(warehouse: Warehouse, tmp_path: Path) -> Settings:
    """With a folder of configuration that has another model: `dex-v1`, steeper."""
    conf = tmp_path / "conf"
    shutil.copytree(PROJECT_ROOT / "conf", conf)
    model = yaml.safe_load((conf / "scoring" / "dex-v1.yaml").read_text())
    model["name"] = "steeper"
    model["swap"]["volume"]["full_at"] = 20_000
    model["lp"]["retention"]["points"] = 200
    (conf / "scoring" / "steeper.yaml").write_text(yaml.safe_dump(model))
    return Settings(scorestream_warehouse=warehouse.root, scorestream_conf=conf)


@pytest.fixture
def steeper(settings: Settings) -> Scoring:
    return load_scoring("steeper", settings.scorestream_conf)


def store(warehouse: Warehouse, scoring: Scoring, records: Sequence[Record], run: str) -> None:
    """Scores of messages, as the stream stores them."""
    facts = BatchFacts(run, 0, 1.7e9, code_version="1")
    scored = score_records([records_of(list(records))], (scoring,), include_transactions=False)
    report = write_scored(scored, warehouse.root, facts, include_transactions=False)
    commit_files(warehouse, report.files, None)


def scores(warehouse: Warehouse, run: str) -> dict[str, float]:
    return {
        row["wallet_key"]: row["final_score"]
        for row in warehouse.rows(SCORES)
        if row["run_id"] == run
    }


def ranks(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Of each value the mean rank of those that equal it."""
    below = (values[:, None] > values[None, :]).sum(axis=1)
    equal = (values[:, None] == values[None, :]).sum(axis=1)
    return np.asarray(below + (equal - 1) / 2)


def class_of(left: float, right: float) -> str:
    if left == right:
        return "unchanged"
    share = abs(right - left) / left
    names = ["< 1 %", "1–5 %", "5–20 %", "> 20 %"]
    return names[int(np.searchsorted([0.01, 0.05, 0.2], share, side="right"))]


def test_figures_are_those_of_plain_python(
    warehouse: Warehouse, scoring: Scoring, steeper: Scoring, spark: SparkSession
) -> None:
    store(warehouse, scoring, golden_records()[:-5], "a")
    store(warehouse, steeper, golden_records()[3:], "b")
    lefts, rights = scores(warehouse, "a"), scores(warehouse, "b")
    wallets = sorted({*lefts} & {*rights})
    left, right = (np.array([side[w] for w in wallets]) for side in (lefts, rights))
    pairs = paired(newest_scores(spark, LEFT), newest_scores(spark, RIGHT))
    found = figures_of(pairs)
    assert (found.both, found.only_left, found.only_right) == (72, 3, 5)
    assert found.same_moment == 72
    assert found.mean == pytest.approx(np.mean(right - left))
    points = np.abs(right - left)
    assert list(found.quantiles) == pytest.approx(np.percentile(points, PERCENTS).tolist())
    assert found.largest == points.max()
    rank_correlation = np.corrcoef(ranks(left), ranks(right))[0, 1]
    assert rank_correlation < 0.9999
    assert found.rank_correlation == pytest.approx(rank_correlation)
    moves = Counter((class_of(a, b), int(np.sign(b - a))) for a, b in zip(left, right, strict=True))
    assert found.moved == dict(moves)
    assert len({name for name, _ in moves}) > 3
    by_move = sorted(range(72), key=lambda i: (-points[i], wallets[i]))
    assert largest_moves(pairs, 7) == [wallets[i] for i in by_move[:7]]
    check_bins(pairs, found, left, right)


def check_bins(
    pairs: Any, found: Figures, left: np.ndarray[Any, Any], right: np.ndarray[Any, Any]
) -> None:
    bounds = min(left.min(), right.min()), max(left.max(), right.max())
    assert (found.lowest, found.highest) == bounds
    counts = np.histogram2d(left, right, CELLS, [bounds, bounds])[0]
    assert cells_of(pairs, found) == {
        (int(x), int(y)): counts[x, y] for x, y in np.argwhere(counts)
    }
    change = (right - left)[right != left]
    bars = np.histogram(change, BARS, (-found.largest, found.largest))[0]
    assert bars_of(pairs, found) == {int(i): bars[i] for i in np.flatnonzero(bars)}


def test_the_report_says_what_moved_and_why(
    warehouse: Warehouse,
    scoring: Scoring,
    steeper: Scoring,
    settings: Settings,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for scored_by, run in ((scoring, "a"), (steeper, "b")):
        store(warehouse, scored_by, golden_records(), run)
    compare_scores(CompareOptions(LEFT, RIGHT, top=3), settings)
    printed = capsys.readouterr().out
    assert "| on both sides | 80 |" in printed
    assert "svg" not in printed
    out = tmp_path / "out"
    compare_scores(CompareOptions(LEFT, RIGHT, 3, str(out)), settings)
    assert capsys.readouterr().out.startswith("80 wallets compared: ")
    report = (out / "comparison.md").read_text()
    assert report.replace("![dex-v1 against steeper](comparison.svg)\n\n", "") == printed
    [*_, first, _, _] = report.rstrip().splitlines()
    assert "swap.volume_score +" in first or "lp.retention_score -50.00" in first
    assert first.endswith("| none |")
    picture = ElementTree.parse(out / "comparison.svg")
    texts = [element.text for element in picture.iter() if element.tag.endswith("text")]
    assert {"score of dex-v1", "score of steeper", "change in points"} <= set(texts)
    with pytest.raises(InputError, match=r"--out .*: cannot be written"):
        compare_scores(
            CompareOptions(LEFT, RIGHT, 3, str(out / "comparison.md" / "below")), settings
        )


def test_runs_of_one_model_are_compared_by_the_newest_score_of_a_wallet_in_each(
    warehouse: Warehouse, scoring: Scoring, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    records = [r for r in golden_records() if r.timestamp is not None]
    earlier = [Record(r.key, r.value, (r.timestamp or 0) - 900 * 86_400_000) for r in records]
    store(warehouse, scoring, [*records, *earlier], "both")
    store(warehouse, scoring, records, "same")
    store(warehouse, scoring, earlier, "earlier")
    both, same = Side("dex-v1", "both"), Side("dex-v1", "same")
    compare_scores(CompareOptions(both, same), settings)
    unchanged = capsys.readouterr().out
    assert "| unchanged | 80 | 100.0% | 0 | 0 |" in unchanged
    assert "rank correlation (Spearman) 1.000000" in unchanged
    assert "Largest moves" not in unchanged
    assert "Both scores of every wallet speak of one moment" in unchanged
    compare_scores(CompareOptions(Side("dex-v1"), Side("dex-v1", "earlier")), settings)
    moved = capsys.readouterr().out
    assert "The two scores of 80 wallets speak of different moments" in moved
    assert "avg_hold_time_days" in moved


def test_one_wallet_makes_no_rank_correlation_and_still_a_picture(
    warehouse: Warehouse, scoring: Scoring, settings: Settings, tmp_path: Path
) -> None:
    for run in ("a", "b"):
        store(warehouse, scoring, golden_records()[:1], run)
    sides = Side("dex-v1", "a"), Side("dex-v1", "b")
    compare_scores(CompareOptions(*sides, out=str(tmp_path / "out")), settings)
    assert "(Spearman) not defined" in (tmp_path / "out" / "comparison.md").read_text()
    ElementTree.parse(tmp_path / "out" / "comparison.svg")


def test_sides_that_cannot_be_compared_are_refused(
    warehouse: Warehouse, scoring: Scoring, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ConfigurationError, match="are both dex-v1: nothing to compare"):
        compare_scores(CompareOptions(LEFT, LEFT), settings)
    with pytest.raises(InputError, match=r"no score of dex-v1; .* holds no score at all"):
        compare_scores(CompareOptions(LEFT, RIGHT), settings)
    store(warehouse, scoring, golden_records()[:2], "a")
    with pytest.raises(InputError, match="no score of steeper; the table scores holds dex-v1"):
        compare_scores(CompareOptions(LEFT, RIGHT), settings)
    other = Side("dex-v1", "it's")
    with pytest.raises(InputError, match=r"no score of dex-v1 \(run it's\); .* runs a of dex-v1"):
        compare_scores(CompareOptions(LEFT, other), settings)
    store(warehouse, scoring, golden_records()[2:4], "b")
    compare_scores(CompareOptions(Side("dex-v1", "a"), Side("dex-v1", "b")), settings)
    assert "No wallet has a score on both sides." in capsys.readouterr().out
