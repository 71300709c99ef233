"""Replays, and an environment that is not as the job needs it."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from scorestream.infra.kafka.producer import Record
from scorestream.infra.storage.locks import exclusive_lock
from tools.local.broker import LocalBroker
from tools.local.ports import free_port
from tools.testkit.delivery_checks import check_every_offset_once
from tools.testkit.golden import golden_records
from tools.testkit.installation import Installation

pytestmark = pytest.mark.broker


def test_rejects_are_replayed_once_each_with_their_attempts(installation: Installation) -> None:
    stamp = 1_623_715_200_000
    records = [Record(b"k", None, stamp), Record(b"k", b"\xff\x00", stamp)]
    installation.publish([*records, *golden_records()[:3]])
    installation.drain()

    assert "1 replayed" in replay(installation, "--where", "error_code = 'null_value'")
    assert "1 replayed" in replay(installation)
    assert "0 would be replayed" in replay(installation, "--dry-run")
    assert len(installation.offsets()) == 7

    installation.drain()
    check_every_offset_once(installation)
    rejects = installation.rows("rejects")
    assert Counter((r["value"], r["attempt"]) for r in rejects) == {
        (value, attempt): 1 for value in (None, b"\xff\x00") for attempt in (0, 1)
    }
    assert {int(r["source_timestamp"].timestamp() * 1000) for r in rejects} == {stamp}


def replay(installation: Installation, *arguments: str) -> str:
    code, out, err = installation.run("replay_rejects", *arguments)
    assert code == 0, err[-4000:]
    return out


def test_query_prints_rows_and_nothing_else(installation: Installation) -> None:
    sql = "SELECT 1 AS a, CAST(null AS STRING) AS b, struct(2 AS c) AS d, count(*) AS n FROM scores"
    code, out, err = installation.run("query", sql, "--format", "json")
    assert code == 0, err[-4000:]
    assert [json.loads(line) for line in out.splitlines()] == [
        {"a": 1, "b": None, "d": {"c": 2}, "n": 0}
    ]


def test_wrong_settings_are_all_told_at_once(installation: Installation) -> None:
    code, _, err = installation.run(
        "stream_scores", METRICS_PORT="no", KAFKA_INPUT_TOPIC="a b", SCORESTREAM_TYPO="1"
    )
    assert code == 2
    for name in ("METRICS_PORT", "KAFKA_INPUT_TOPIC", "SCORESTREAM_TYPO", "3 problem(s)"):
        assert name in err


def test_no_broker_is_one_clear_line(installation: Installation) -> None:
    server = f"127.0.0.1:{free_port()}"
    code, _, err = installation.run("stream_scores", KAFKA_BOOTSTRAP_SERVERS=server)
    assert code == 1
    assert f"KafkaError: no Kafka broker answers at {server}" in err
    assert "Traceback" not in err


def test_missing_topics_are_not_created_against_the_settings(installation: Installation) -> None:
    code, _, err = installation.run("stream_scores", KAFKA_CREATE_TOPICS="false")
    assert code == 1
    assert f"no topic {installation.input_topic}" in err


def test_a_second_stream_on_the_same_checkpoint_is_refused(installation: Installation) -> None:
    checkpoint = f"{installation.settings.warehouse}/_checkpoints/stream_scores"
    with exclusive_lock(checkpoint):
        code, _, err = installation.run("stream_scores", "--available-now")
    assert code == 3
    assert "is in use by another process" in err


def test_a_recreated_topic_is_refused(installation: Installation, broker: LocalBroker) -> None:
    installation.publish(golden_records()[:2])
    installation.drain()
    installation.delete_topic(installation.input_topic)
    installation.publish(golden_records()[:2])
    code, _, err = installation.run("stream_scores", "--available-now")
    assert code == 3
    assert "was recreated" in err
    assert "Traceback" not in err
