"""Loads `conf/models/NAME.yaml` into a `UseCase`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from scorestream.infra.config.yaml_files import format_problems, read_yaml
from scorestream.infra.errors import ConfigurationError
from scorestream.tabular.training.config.use_case import UseCase


def load_use_case(path: Path, changes: Sequence[str] = ()) -> UseCase:
    """Load a use case.

    Args:
        path: the YAML file.
        changes: `key=value` each, with dots between the keys, the value as YAML has it.

    Raises:
        ConfigurationError: no such file, or keys are missing, unknown or wrong; all are told.
    """
    content = read_yaml(path)
    for change in changes:
        _change(content, change)
    try:
        return UseCase.model_validate(content)
    except ValidationError as error:
        raise ConfigurationError(f"{path}: {format_problems(error)}") from None


def _change(content: dict[str, Any], change: str) -> None:
    key, equals, text = change.partition("=")
    *path, last = key.split(".")
    if not equals or not last:
        raise ConfigurationError(f"--set {change}: must be key=value, for instance search.trials=5")
    target: Any = content
    for part in path:
        target = target.setdefault(part, {}) if isinstance(target, dict) else None
    if not isinstance(target, dict):
        raise ConfigurationError(f"--set {change}: {key} is below what is no mapping")
    try:
        target[last] = yaml.safe_load(text)
    except yaml.YAMLError:
        raise ConfigurationError(f"--set {change}: {text!r} is no YAML value") from None
