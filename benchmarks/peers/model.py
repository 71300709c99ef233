"""The scoring model of all peers: `dex-v1` as it is configured in `conf/`."""

from __future__ import annotations

from functools import cache

from scorestream.core.dex_v1 import DexV1
from scorestream.reference import load_conf_reference
from scorestream.scoring.model import load_scoring_model
from scorestream.settings import PROJECT_ROOT


@cache
def scoring_model() -> DexV1:
    """`dex-v1` with the constants and stable symbols of the project."""
    conf = PROJECT_ROOT / "conf"
    return load_scoring_model(conf, "dex-v1", load_conf_reference(conf).stable_symbols)
