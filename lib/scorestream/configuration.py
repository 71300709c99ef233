"""Loads `conf/` into typed, frozen objects."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from scorestream.core.config import DexV1Config
from scorestream.core.dex_v1 import DexV1
from scorestream.errors import ConfigurationError


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
        raise ConfigurationError(f"{path}: {problems_of(error)}") from None
    if config.name != name:
        raise ConfigurationError(f"{path}: name is {config.name!r}, must be {name!r} as the file's")
    return DexV1(config)


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping that a YAML file holds.

    Raises:
        ConfigurationError: the file is missing, not YAML, or not a mapping.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: cannot be read: {error}") from None
    if not isinstance(content, dict):
        raise ConfigurationError(f"{path}: must hold a mapping")
    return content


def problems_of(error: ValidationError) -> str:
    """All that pydantic found wrong, in one line."""
    return "; ".join(_problem(detail) for detail in error.errors())


def _problem(detail: ErrorDetails) -> str:
    if not detail["loc"]:
        return detail["msg"].removeprefix("Value error, ")
    return f"{'.'.join(map(str, detail['loc']))}: {detail['msg']}"
