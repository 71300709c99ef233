"""What a delivery report proves."""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaError as Errors
from confluent_kafka import Message

from scorestream.infra.errors import KafkaError
from scorestream.infra.kafka.producer import FailedRecords, Record

RECORD = Record(b"key", b"value")


def test_a_record_with_an_offset_is_there() -> None:
    failed = FailedRecords()
    failed.note(RECORD, None, Message(topic="scores", partition=0, offset=0))
    assert not failed
    failed.refuse("scores")


def test_a_record_that_is_acknowledged_without_an_offset_may_be_lost() -> None:
    failed = FailedRecords()
    failed.note(RECORD, None, Message(topic="scores", partition=0))
    assert failed
    with pytest.raises(KafkaError, match="1 records refused by scores: acknowledged without an"):
        failed.refuse("scores")


def test_the_first_reason_is_told_and_records_that_are_too_large_are_kept_apart() -> None:
    failed = FailedRecords()
    failed.note(RECORD, Errors(Errors.MSG_SIZE_TOO_LARGE), Message(topic="scores"))
    assert (failed.too_large, bool(failed)) == ([RECORD], False)
    for code in (Errors._MSG_TIMED_OUT, Errors.TOPIC_AUTHORIZATION_FAILED):
        failed.note(RECORD, Errors(code), Message(topic="scores"))
    with pytest.raises(KafkaError, match="2 records refused by scores: no acknowledgement within"):
        failed.refuse("scores")


def test_a_handle_that_the_client_destroyed_is_told_in_words() -> None:
    failed = FailedRecords()
    failed.note(RECORD, Errors(Errors._DESTROY), Message(topic="scores"))
    with pytest.raises(KafkaError, match="a server has left the cluster, or the topic was deleted"):
        failed.refuse("scores")
