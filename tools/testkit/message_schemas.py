"""The published JSON Schemas of the three Kafka messages."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator

from scorestream.infra.config.settings import PROJECT_ROOT


@cache
def validator(topic: str) -> Draft202012Validator:
    """The validator of the messages of a topic, by the topic's default name."""
    text = (PROJECT_ROOT / "docs" / "schemas" / f"{topic}.json").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)
