"""Reading back what a peer wrote: wallet -> final score."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from confluent_kafka import Consumer, TopicPartition

from scorestream.infra.kafka.consumer import OffsetRange, fetch


def topic_scores(bootstrap_servers: str, topic: str) -> dict[str, float]:
    """Scores in a success topic, of a peer or of the job itself."""
    options = {"bootstrap.servers": bootstrap_servers, "group.id": "peers"}
    batches = fetch(topic_ranges(topic, options), options)
    results = [json.loads(value or b"") for records in batches for value in records.values]
    return _once((r["wallet_address"], _final_score(r)) for r in results)


def parquet_scores(path: Path) -> dict[str, float]:
    """Scores in a Parquet file, or in a folder of them."""
    return _of_columns(pq.read_table(path, columns=["wallet_address", "final_score"]))


def topic_ranges(topic: str, options: dict[str, Any]) -> list[OffsetRange]:
    """All of a topic; partitions without messages are left out."""
    consumer = Consumer(options)
    partitions = sorted(consumer.list_topics(topic, 15).topics[topic].partitions)
    bounds = [consumer.get_watermark_offsets(TopicPartition(topic, p), 15) for p in partitions]
    consumer.close()
    ranges = [OffsetRange(topic, p, *b) for p, b in zip(partitions, bounds, strict=True)]
    return [r for r in ranges if len(r) > 0]


def _of_columns(table: Any) -> dict[str, float]:
    wallets, scores = (table[name].to_pylist() for name in ("wallet_address", "final_score"))
    return _once(zip(wallets, scores, strict=True))


def _final_score(result: dict[str, Any]) -> float:
    # The job's own messages have the score by category.
    score = result["final_score"] if "final_score" in result else result["categories"][0]["score"]
    return float(score)


def _once(pairs: Iterable[tuple[str, float]]) -> dict[str, float]:
    listed = list(pairs)
    scores = dict(listed)
    if len(scores) < len(listed):
        raise ValueError(f"{len(listed) - len(scores)} scores are of wallets that have one already")
    return scores
