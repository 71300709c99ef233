"""Elements of JSON arrays, found by their brackets and commas."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scorestream.wallets.core import json_brackets
from scorestream.wallets.core.json_brackets import (
    count_elements,
    element_bounds,
    is_deep,
    nested_bounds,
)

TEXTS = st.text(alphabet='[]{},:"\\ aé')
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS,
    lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner),
)


@given(array=st.lists(VALUES), window=st.integers(1, 20), indent=st.sampled_from([None, 1]))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_elements_are_those_of_the_array(
    array: list[Any], window: int, indent: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_brackets, "WINDOW_BYTES", window)
    value = json.dumps(array, ensure_ascii=False, indent=indent).encode()
    assert [json.loads(value[a:b]) for a, b in element_bounds(value)] == array
    nested = [each for each in array if isinstance(each, list | dict)]
    assert [json.loads(value[a:b]) for a, b in nested_bounds(value)] == nested
    assert count_elements(value) == len(array)


@pytest.mark.parametrize("window", [1, 7, 512, 10_000])
def test_depth_is_counted_over_windows(window: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_brackets, "WINDOW_BYTES", window)
    text = b'"' + b"[" * 600 + b'\\"[\\\\",'
    assert not is_deep(b"[" + text + b"[" * 511 + b"]" * 512)
    assert is_deep(b"[" + text + b"[" * 512 + b"]" * 513)
