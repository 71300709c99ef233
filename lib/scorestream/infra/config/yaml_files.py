"""Reads YAML configuration files, and formats their problems with the paths of keys."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from scorestream.infra.errors import ConfigurationError


def read_yaml(path: Path) -> dict[str, Any]:
    """Read the mapping in a YAML file.

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


def format_problems(error: ValidationError) -> str:
    """Format all problems that pydantic found, in one line."""
    return "; ".join(_problem(detail) for detail in error.errors())


def _problem(detail: ErrorDetails) -> str:
    if not detail["loc"]:
        return detail["msg"].removeprefix("Value error, ")
    return f"{'.'.join(map(str, detail['loc']))}: {detail['msg']}"
