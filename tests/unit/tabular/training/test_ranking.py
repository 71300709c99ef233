"""The order of candidates, also of those of which nothing is known."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from scorestream.infra.errors import TrainingError
from scorestream.tabular.model.trained_model import ModelCard
from scorestream.tabular.training.config.load import load_use_case
from scorestream.tabular.training.data.datasets import Dataset, Source
from scorestream.tabular.training.data.totals import Totals
from scorestream.tabular.training.search.candidates import rank_candidates
from scorestream.tabular.training.search.hyperparameters import SearchResult
from scorestream.tabular.training.search.learning import Examples, Learner
from scorestream.tabular.training.search.training_context import TrainingContext
from tools.testkit.models import DIAMONDS, LOANS

UNKNOWN = float("nan")


def context(metric: str, *changes: str) -> TrainingContext:
    """Of a use case without rows."""
    path = DIAMONDS if metric == "mape" else LOANS
    use_case = load_use_case(path, [f"search.metric={metric}", *changes])
    card = ModelCard(name="t", task=use_case.task, target="y", columns={})
    rows, none = pa.table({}), np.zeros(0)
    flags = none.astype(bool)
    data = Dataset("t", rows, flags, flags, none.astype(np.uint64), [], Totals(0, 0, 0, {}, ""))
    return TrainingContext(use_case, Source("t", rows), data, card, Examples(rows, none))


def found(*values: float) -> list[SearchResult]:
    known = [{} if np.isnan(value) else {"mape": value, "f1": value} for value in values]
    return [
        SearchResult(Learner(str(v), ()), v, metrics, np.zeros(0), ())
        for v, metrics in zip(values, known, strict=True)
    ]


@pytest.mark.parametrize(
    ("metric", "order"), [("mape", ["0.1", "0.2", "0.3"]), ("f1", ["0.3", "0.2", "0.1"])]
)
def test_a_candidate_of_which_nothing_is_known_is_last(metric: str, order: list[str]) -> None:
    ranked = rank_candidates(context(metric, "guards={}"), found(0.2, UNKNOWN, 0.1, UNKNOWN, 0.3))
    assert [one.learner.name for one in ranked] == [*order, "nan", "nan"]


def test_where_nothing_is_known_of_any_there_is_no_best() -> None:
    with pytest.raises(TrainingError, match=r"search\.metric: no candidate has a mape"):
        rank_candidates(context("mape"), found(UNKNOWN, UNKNOWN))


def test_with_guards_the_best_is_good_by_all_metrics() -> None:
    """The one that is best by one of them is far behind by the other."""
    shares = {"0": (0.07, 0.95), "1": (0.071, 0.98), "2": (0.09, 0.981)}
    judged = [
        SearchResult(Learner(name, ()), mape, {"mape": mape, "r2": r2}, np.zeros(0), ())
        for name, (mape, r2) in shares.items()
    ]
    ranked = rank_candidates(context("mape", "guards={r2: {}}"), judged)
    assert [one.learner.name for one in ranked] == ["1", "2", "0"]
    alone = rank_candidates(context("mape", "guards={}"), judged)
    assert [one.learner.name for one in alone] == ["0", "1", "2"]
