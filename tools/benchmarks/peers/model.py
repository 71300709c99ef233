"""The scoring model of all peers: `dex-v1` as it is configured in `conf/`."""

from __future__ import annotations

from functools import cache

from scorestream.infra.config.settings import PROJECT_ROOT
from scorestream.wallets.execution.configured_scorer import load_scoring_model
from scorestream.wallets.reference.reference_data import load_conf_reference
from scorestream.wallets.scorers.dex_v1.scorer import DexV1


@cache
def scoring_model() -> DexV1:
    """`dex-v1` with the constants and stable symbols of the project."""
    conf = PROJECT_ROOT / "conf"
    return load_scoring_model(conf, "dex-v1", load_conf_reference(conf).stable_symbols)
