"""What all peers score by: `dex-v1` as it is configured in `conf/`, loaded once a process."""

from __future__ import annotations

from functools import cache

from scorestream import load_scoring
from scorestream.wallets.core.scoring import Scoring
from scorestream.wallets.scorers.dex_v1.config import DexV1Config
from scorestream.wallets.scorers.dex_v1.scorer import DexV1


@cache
def scoring() -> Scoring:
    """`dex-v1` with the constants and stable symbols of the project."""
    return load_scoring()


def constants() -> DexV1Config:
    """Its constants, and the stable symbols."""
    scorer = scoring().scorers[0]
    if not isinstance(scorer, DexV1):
        raise TypeError(f"{scoring().name} is scored by {scorer}, not by dex-v1")
    return scorer.config
