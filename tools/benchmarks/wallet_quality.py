"""What the models of wallets reach: learned from generated wallets, judged on others.

    python -m tools.benchmarks.wallet_quality [--pairs 5] [--wallets 1500] [--trials 2]

For each pair of seeds a model learns wallets of the one at the earlier cutoffs, and is judged on
those of the other at the last. Prints mean and deviation over the pairs, of the baselines too.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import structlog

from scorestream.infra.config.settings import PROJECT_ROOT
from scorestream.tabular.model.families import Floats
from scorestream.tabular.training.config.load import load_use_case
from scorestream.tabular.training.data.datasets import Source
from scorestream.tabular.training.evaluation import evaluate
from scorestream.tabular.training.search.baselines import evaluate_baselines
from scorestream.tabular.training.search.candidates import rank_candidates, search_candidates
from scorestream.tabular.training.search.learning import Learner
from scorestream.tabular.training.search.training_context import TrainingContext
from scorestream.wallets.datasets.cutoffs import BEHAVIOUR, Cutoffs
from scorestream.wallets.datasets.generated.examples import Drawing, drawn_examples
from scorestream.wallets.execution.configured_scoring import load_scoring

CONF: Final = PROJECT_ROOT / "conf"
UNTIL: Final = 1_767_225_600
MONTH: Final = 30 * 86_400
CUTOFFS: Final = Cutoffs([UNTIL - months * MONTH for months in range(5, 0, -1)], MONTH)
FIRST_SEED: Final = 11
MODELS: Final = ("wallet_retention", "wallet_anomaly")
# How much of a model is its best column alone.
OWN: Final = {"wallet_anomaly": ("baselines.own_column=lone_swaps_a_day",)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--wallets", type=int, default=1500)
    parser.add_argument("--trials", type=int, default=2)
    arguments = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    rows = []
    for seed in range(FIRST_SEED, FIRST_SEED + arguments.pairs):
        table = pair(seed, arguments.wallets)
        for name in MODELS:
            for kind, metrics in evaluate_model(name, table, arguments.trials):
                rows.append({"model": name, "judged": kind, **metrics})
        print(f"seed {seed} done", flush=True)
    summary = pd.DataFrame(rows).groupby(["model", "judged"], sort=False).agg(["mean", "std"])
    print(summary.round(3).T.unstack().T.to_string())


def pair(seed: int, wallets: int) -> pa.Table:
    """Wallets of a seed at the earlier cutoffs, and of another at the last."""
    last = CUTOFFS.moments[-1]
    learned, judge = examples(seed, wallets), examples(seed + 100, wallets)
    return pa.concat_tables(
        [
            learned.filter(pc.less(learned["as_of"], last)),
            judge.filter(pc.equal(judge["as_of"], last)),
        ]
    )


def examples(seed: int, wallets: int) -> pa.Table:
    """Examples of generated wallets, whose keys are those of their seed alone."""
    scoring = load_scoring(conf=CONF)
    table = drawn_examples(Drawing(wallets, 180, UNTIL, seed), CUTOFFS, scoring)
    keys = pc.binary_join_element_wise(str(seed), table["wallet_key"], "/")
    return table.set_column(0, "wallet_key", keys)


def evaluate_model(name: str, table: pa.Table, trials: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Metrics of the best candidate and of the baselines on the last cutoff."""
    changes = [f"search.trials={trials}", "search.folds=3", *OWN.get(name, ())]
    use_case = load_use_case(CONF / "models" / f"{name}.yaml", changes)
    context = TrainingContext.of(use_case, Source(name, table))
    model = best(context).learn(context.card, context.training_examples, context.seed)
    margin = model.margin(context.held_out_examples.features)
    metrics = evaluate(context.card, context.held_out_examples.truth, margin)
    yield "model", metrics | flagged_shares(context, margin)
    for baseline, baseline_metrics in evaluate_baselines(context).items():
        yield baseline, dict(baseline_metrics)


def best(context: TrainingContext) -> Learner:
    """The candidate that cross-validation prefers."""
    return rank_candidates(context, list(search_candidates(context)))[0].learner


def flagged_shares(context: TrainingContext, margin: Floats) -> dict[str, float]:
    """The share of each behaviour that an anomaly model flags."""
    if context.card.task != "anomaly":
        return {}
    flags = margin >= np.quantile(margin, 1 - context.card.flag, method="higher")
    behaviours = context.data.rows[BEHAVIOUR].to_pandas()[context.data.held_out]
    shares = pd.Series(flags).groupby(behaviours.to_numpy()).mean()
    return {f"flagged {name}": float(share) for name, share in shares.items()}


if __name__ == "__main__":
    main()
