"""Headers that anybody may have written."""

from __future__ import annotations

import pytest
from confluent_kafka import Message
from hypothesis import given
from hypothesis import strategies as st

from scorestream.infra.kafka.headers import (
    ORIGIN_HEADER,
    Header,
    read_attempt,
    read_headers,
    read_origin,
)
from scorestream.infra.kafka.records import ATTEMPT_HEADER

NAMES = st.one_of(st.sampled_from([ATTEMPT_HEADER, ORIGIN_HEADER]), st.text(max_size=5))
VALUES = st.one_of(
    st.none(),
    st.binary(max_size=30),
    st.from_regex(rb"\A[0-9]{1,30}\Z"),
    st.from_regex(rb"\A[a-z/]{0,3}(/-?[0-9]{0,20}){0,3}\Z"),
)


@given(st.lists(st.tuples(NAMES, VALUES), max_size=5))
def test_whatever_headers_say_is_a_number_that_the_tables_hold_or_nothing(
    headers: list[Header],
) -> None:
    assert 0 <= read_attempt(headers) + 1 < 2**31
    origin = read_origin(headers)
    if origin is not None:
        _, partition, offset = origin
        assert 0 <= partition < 2**31
        assert 0 <= offset < 2**63


@pytest.mark.parametrize(
    ("values", "attempt"),
    [
        ([b"3"], 3),
        ([b"999999999"], 999_999_999),
        ([b"3", b"4"], 3),
        ([b"x", None, b"4"], 4),
        ([b"9" * 1000], 0),
        ([b"-1"], 0),
        ([b" 1"], 0),
        (["٣".encode()], 0),
        ([b""], 0),
        ([None], 0),
        ([], 0),
    ],
)
def test_attempts_are_a_plain_number_of_at_most_nine_digits(
    values: list[bytes | None], attempt: int
) -> None:
    headers: list[Header] = [("other", b"7"), *((ATTEMPT_HEADER, value) for value in values)]
    assert read_attempt(headers) == attempt


@pytest.mark.parametrize(
    ("value", "origin"),
    [
        (b"topic/1/22", ("topic", 1, 22)),
        (b"topic/1", None),
        (b"1/22", None),
        (b"topic/1/x", None),
        (b"topic/-1/22", None),
        (b"\xff/1/22", None),
        (b"topic/1/" + b"9" * 19, None),
        (b"", None),
        (None, None),
    ],
)
def test_what_a_record_replays_is_a_topic_and_two_numbers(
    value: bytes | None, origin: tuple[str, int, int] | None
) -> None:
    assert read_origin([("other", b"a/1/2"), (ORIGIN_HEADER, value)]) == origin


def test_a_record_without_headers_has_none() -> None:
    assert list(read_headers(Message(topic="t", value=b"v"))) == []
