"""The job as its own process against a real broker: delivery, exactness, stopping, bad input."""

from __future__ import annotations

import os
import signal
import urllib.request
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from confluent_kafka import Consumer, TopicPartition

from scorestream.infra.kafka.producer import Record
from tools.local.ports import free_port
from tools.testkit.delivery_checks import check_every_offset_once
from tools.testkit.golden import (
    broken_records,
    differences,
    golden_records,
    golden_wallets,
)
from tools.testkit.installation import (
    Installation,
    has_rows,
    kill_group,
    offsets_of,
    wait_until,
)

pytestmark = pytest.mark.broker

GOLDEN = golden_wallets()


def mixed(first: list[Record], second: list[Record]) -> list[Record]:
    """Both, the shorter one spread over the longer one."""
    step = len(first) // len(second)
    result: list[Record] = []
    for i, record in enumerate(first):
        result.append(record)
        if i % step == 0 and i // step < len(second):
            result.append(second[i // step])
    return result


def test_golden_and_broken_messages_through_stop_and_restart(installation: Installation) -> None:
    records = mixed(golden_records(), broken_records())
    half = len(records) // 2
    installation.publish(records[:half])
    metrics_port = str(free_port())
    job = installation.start(
        "stream_scores", "--max-offsets-per-trigger", "10", METRICS_PORT=metrics_port
    )
    try:
        wait_until(lambda: job.poll() is not None or has_rows(installation))
        assert job.poll() is None, job.communicate()[1][-4000:]
        metrics = urllib.request.urlopen(f"http://127.0.0.1:{metrics_port}/metrics").read().decode()
        job.send_signal(signal.SIGTERM)
        _, err = job.communicate(timeout=120)
    finally:
        kill_group(job)
    assert job.returncode == 0, err[-4000:]
    assert "Traceback" not in err, err[-6000:]
    stored = offsets_of(installation.rows("scores")) + offsets_of(installation.rows("rejects"))
    assert 0 < len(stored) == len(set(stored))
    check_metrics(metrics)

    installation.publish(records[half:])
    interrupt_when_done(installation)
    check_every_offset_once(installation)
    check_golden(installation)
    check_rejects(installation, broken_records())
    check_history(installation)
    assert committed_offsets(installation) == installation.cluster.end_offsets(
        installation.input_topic
    )

    before = len(installation.messages(installation.settings.kafka_success_topic))
    installation.drain()
    check_every_offset_once(installation)
    assert len(installation.messages(installation.settings.kafka_success_topic)) == before


def interrupt_when_done(installation: Installation) -> None:
    """Run the stream until all is stored, then Ctrl-C: INT to every process of its group."""
    job = installation.start("stream_scores")
    try:
        wait_until(lambda: job.poll() is not None or all_stored(installation))
        os.killpg(job.pid, signal.SIGINT)
        _, err = job.communicate(timeout=120)
    finally:
        kill_group(job)
    assert job.returncode == 0, err[-4000:]
    assert "Traceback" not in err, err[-6000:]


def all_stored(installation: Installation) -> bool:
    rows = installation.rows("scores") + installation.rows("rejects")
    return set(offsets_of(rows)) == installation.offsets()


def check_metrics(text: str) -> None:
    names = [
        "messages_total",
        "scores_total",
        "batch_duration_seconds_count",
        "end_to_end_latency_seconds_bucket",
        "consumer_lag_messages",
        "last_success_timestamp_seconds",
    ]
    for name in names:
        assert f"scorestream_{name}" in text, name


def check_golden(installation: Installation) -> None:
    expected = {(g.wallet, g.as_of): g.expected for g in GOLDEN}
    scores = installation.rows("scores")
    assert Counter((r["wallet_address"], r["as_of"]) for r in scores) == Counter(list(expected))
    for row in scores:
        assert differences(row, expected[row["wallet_address"], row["as_of"]]) == []
        assert row["source_timestamp"] == datetime.fromtimestamp(row["as_of"], UTC)
        assert row["config_hash"]
        assert row["code_version"]


def check_rejects(installation: Installation, broken: list[Record]) -> None:
    rejects = installation.rows("rejects")
    assert Counter(r["value"] for r in rejects) == Counter(r.value for r in broken)
    assert all(r["error_code"] and len(r["error"]) < 400 for r in rejects)
    assert {r["attempt"] for r in rejects} == {0}


def check_history(installation: Installation) -> None:
    history = Counter(offsets_of(installation.rows("transactions")))
    counts = {
        (r["source_partition"], r["source_offset"]): r["transaction_count"]
        for r in installation.rows("scores")
    }
    assert history == counts
    stored = Counter(
        (row["document_id"], row["token_in"]["amount"])
        for row in installation.rows("transactions")
        if row["action"] == "swap" and row["token_in"]["amount"] is not None
    )
    assert stored == Counter(sent_amounts())
    assert max(len(amount) for _, amount in stored) > 70


def sent_amounts() -> Iterator[tuple[str, str]]:
    """(document_id, raw amount that went in) of every swap of the golden wallets."""
    for golden in GOLDEN:
        for entry in golden.message["data"]:
            for row in entry["transactions"] if entry["protocolType"] == "dexes" else ():
                amount = (row.get("tokenIn") or {}).get("amount")
                if row["action"] == "swap" and amount is not None:
                    yield row["document_id"], str(amount)


def committed_offsets(installation: Installation) -> dict[int, int]:
    settings = installation.settings
    ends = installation.cluster.end_offsets(settings.kafka_input_topic)
    consumer = Consumer(
        {
            "bootstrap.servers": settings.kafka_bootstrap_servers,
            "group.id": settings.kafka_consumer_group,
        }
    )
    try:
        partitions = [TopicPartition(settings.kafka_input_topic, p) for p in ends]
        return {p.partition: p.offset for p in consumer.committed(partitions, timeout=15)}
    finally:
        consumer.close()
