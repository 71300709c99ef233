"""The scoring model as `conf/scoring` describes it."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from scorestream.infra.config.yaml_files import format_problems, read_yaml
from scorestream.infra.errors import ConfigurationError
from scorestream.wallets.scorers.dex_v1.config import DexV1Config
from scorestream.wallets.scorers.dex_v1.scorer import DexV1


def load_scoring_model(conf: Path, name: str, stable_symbols: frozenset[str]) -> DexV1:
    """Load a scoring model from `conf/scoring/NAME.yaml`.

    Args:
        conf: the configuration folder.
        name: the model's name, for instance ``dex-v1``.
        stable_symbols: symbols of stable coins, from the reference data.

    Raises:
        ConfigurationError: no such file, not YAML, or constants missing, unknown or out of range.
    """
    path = conf / "scoring" / f"{name}.yaml"
    try:
        config = DexV1Config(**read_yaml(path), stable_symbols=stable_symbols)
    except ValidationError as error:
        raise ConfigurationError(f"{path}: {format_problems(error)}") from None
    if config.name != name:
        raise ConfigurationError(f"{path}: name is {config.name!r}, must be {name!r} as the file's")
    return DexV1(config)
