"""A scoring as `conf/scoring` describes it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from pydantic import ValidationError

from scorestream.infra.config.settings import load_settings
from scorestream.infra.config.yaml_files import format_problems, read_yaml
from scorestream.infra.errors import ConfigurationError
from scorestream.wallets.core.scoring import Scoring
from scorestream.wallets.reference.reference_data import load_conf_reference
from scorestream.wallets.scorers.registry import SCORERS

DEFAULT_SCORER: Final = "dex-v1"


def load_scoring(name: str = "dex-v1", conf: Path | None = None) -> Scoring:
    """Load a scoring, with the stable coins of the same folder.

    Args:
        name: of the scoring.
        conf: the configuration folder; None: that of `SCORESTREAM_CONF`.

    Raises:
        ConfigurationError: a file is not there, or not as it must be.
    """
    folder = load_settings().scorestream_conf if conf is None else conf
    return build_scoring(folder, name, load_conf_reference(folder).stable_symbols)


def build_scoring(conf: Path, name: str, stable_symbols: frozenset[str]) -> Scoring:
    """Build a scoring: a scorer with the constants of `conf/scoring/NAME.yaml`.

    The file's `scorer` names the scorer; without one it is that of the same name, or `dex-v1`.

    Args:
        conf: the configuration folder.
        name: of the scoring, for instance ``dex-v1``.
        stable_symbols: symbols of stable coins, from the reference data.

    Raises:
        ConfigurationError: no such file or scorer, not YAML, or constants missing, unknown or out
            of range.
    """
    path = conf / "scoring" / f"{name}.yaml"
    constants = read_yaml(path)
    named = constants.pop("name", None)
    if named != name:
        raise ConfigurationError(f"{path}: name is {named!r}, must be {name!r} as the file's")
    scorer = constants.pop("scorer", name if name in SCORERS else DEFAULT_SCORER)
    if not isinstance(scorer, str) or scorer not in SCORERS:
        known = ", ".join(sorted(SCORERS))
        raise ConfigurationError(f"{path}: scorer is {scorer!r}, must be one of {known}")
    try:
        return Scoring(name, SCORERS[scorer].configure(name, constants, stable_symbols))
    except ValidationError as error:
        raise ConfigurationError(f"{path}: {format_problems(error)}") from None
