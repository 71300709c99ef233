"""`.env.example` has every setting, with its default."""

from __future__ import annotations

import re

import pytest

from scorestream.infra.config.settings import PROJECT_ROOT, Settings, load_settings

EXAMPLE = (PROJECT_ROOT / ".env.example").read_text(encoding="utf-8")
VARIABLES = dict(re.findall(r"^#([A-Z_]+)=(.*)$", EXAMPLE, re.MULTILINE))


def test_every_setting_is_there_and_no_other() -> None:
    assert sorted(VARIABLES) == sorted(name.upper() for name in Settings.model_fields)


def test_what_it_shows_are_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(PROJECT_ROOT)
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    defaults = load_settings()
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    assert load_settings() == defaults
