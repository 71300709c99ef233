"""The trial of a version: it is applied to a few wallets before it reaches a batch."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from scorestream.infra.errors import ModelError
from scorestream.infra.mlflow.model_version import Version
from scorestream.infra.spark.process_isolation import IsolatedProcess
from scorestream.wallets.predictors.apply import (
    MODEL_COLUMNS,
    predict_values,
    warm_up,
    whole_columns,
)
from scorestream.wallets.scorers.dex_v1.scorer import DexV1

if TYPE_CHECKING:
    from scorestream.infra.mlflow.model_copies import ModelCopies

TRIAL_SECONDS: Final = 120.0
# Three wallets: one swap, a provider of liquidity, a busy one.
_TRIAL_WALLETS: Final[dict[str, tuple[float, float, float]]] = {
    "total_deposit_usd": (0, 1000, 1e6),
    "num_deposits": (0, 1, 300),
    "total_withdraw_usd": (0, 0, 4e5),
    "num_withdraws": (0, 0, 100),
    "withdraw_ratio": (0, 0, 0.4),
    "avg_hold_time_days": (0, 10, 3.5),
    "account_age_days": (0, 10, 400),
    "unique_pools": (0, 1, 40),
    "total_swap_volume": (50, 0, 1e7),
    "num_swaps": (1, 0, 600),
    "avg_swap_size": (50, 0, 1e7 / 600),
    "unique_pools_swapped": (1, 0, 60),
    "token_diversity_score": (2, 0, 30),
    "swap_frequency_score": (1, 0, 1.5),
    "zscore": (12.5, 240, 870),
    "lp_score": (0, 480, 900),
    "swap_score": (25, 0, 840),
    "transaction_count": (1, 1, 1000),
    "days_since_first": (0, 10, 400),
    "days_since_last": (0, 10, 0.5),
}


def try_version(copies: ModelCopies, version: Version) -> None:
    """Copy a version into the warehouse, load it, and apply it to a few wallets.

    In an isolated process, as a model may crash or hang.

    Raises:
        Exception: it cannot be had, loaded or applied, or has no value for any of them.
    """
    copies.fetch(version)
    with IsolatedProcess(TRIAL_SECONDS, warm_up) as process:
        values = process.run(partial(predict_values, version, build_trial_rows()))
    if values.null_count == len(values):
        raise ModelError(f"model {version} has no value for any wallet that it was tried with")


def build_trial_rows() -> pa.Table:
    """Build a model's input for the wallets of the trial."""
    whole = whole_columns(DexV1.declaration)
    kinds = {name: pa.int64() if name in whole else pa.float64() for name in MODEL_COLUMNS}
    return pa.table({name: pa.array(_TRIAL_WALLETS[name], kind) for name, kind in kinds.items()})
