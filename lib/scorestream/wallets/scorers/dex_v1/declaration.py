"""What ``dex-v1`` is: its features and the parts of its scores. Formulas: docs/scoring.md."""

from __future__ import annotations

from typing import Final

import pyarrow as pa

from scorestream.wallets.core.messages import DEXES
from scorestream.wallets.core.scorer import Declaration, Feature, PartialScore

_COUNT: Final = pa.int64()

DECLARATION: Final = Declaration(
    name="dex-v1",
    category=DEXES,
    features=(
        Feature("total_deposit_usd", "USD of all deposits"),
        Feature("total_withdraw_usd", "USD of all withdraws"),
        Feature("num_deposits", "deposits", _COUNT),
        Feature("num_withdraws", "withdraws", _COUNT),
        Feature("withdraw_ratio", "USD withdrawn for each USD deposited"),
        Feature("avg_hold_time_days", "mean days from a deposit to the next withdraw"),
        Feature("account_age_days", "days from the first to the last transaction"),
        Feature("unique_pools", "distinct pools of all transactions", _COUNT),
        Feature("total_swap_volume", "USD of all swaps"),
        Feature("num_swaps", "swaps", _COUNT),
        Feature("unique_pools_swapped", "distinct pools of the swaps", _COUNT),
        Feature("avg_swap_size", "mean USD of a swap"),
        Feature("token_diversity_score", "points for distinct stable and other tokens swapped"),
        Feature("swap_frequency_score", "points by the mean gap between swaps"),
    ),
    partial_scores=(
        PartialScore(
            "lp",
            "score of providing liquidity",
            {
                "volume_score": "USD deposited",
                "frequency_score": "deposits",
                "retention_score": "the share that was not withdrawn",
                "holding_score": "days held",
                "diversity_score": "distinct pools",
            },
        ),
        PartialScore(
            "swap",
            "score of swapping",
            {
                "volume_score": "USD swapped",
                "frequency_score": "swaps",
                "diversity_score": "distinct tokens",
                "activity_score": "the mean gap between swaps",
                "pool_diversity_score": "distinct pools swapped in",
            },
        ),
    ),
)
