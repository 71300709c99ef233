"""Quix Streams: its consumer, checkpoints and producer around our own core.

The core scores batches, so it is a sink, which is where Quix hands over batches: one a checkpoint.
One process; its environment is that of quix-requirements.in.
"""

from __future__ import annotations

import time
import uuid
from typing import Any, Final

import msgspec
import numpy as np
from quixstreams import Application
from quixstreams.kafka import Producer
from quixstreams.sinks.base import BaseSink

from scorestream.wallets.core.pipeline import score_messages
from tools.benchmarks.peers import StreamCase
from tools.benchmarks.peers.process import main
from tools.benchmarks.peers.scoring import scoring

# About as many bytes as a batch of the job.
MESSAGES_PER_CHECKPOINT: Final = 400
RESULT: Final = ("position", "wallet_address", "final_score", "features")


def run(case: StreamCase) -> float:
    """Seconds from connecting until all scores are acknowledged."""
    scoring()
    began = time.perf_counter()
    app = Application(
        case.bootstrap_servers,
        consumer_group=f"quix-{uuid.uuid4()}",
        auto_offset_reset="earliest",
        commit_every=MESSAGES_PER_CHECKPOINT,
        producer_extra_config={"compression.type": "lz4"},
        state_dir=case.folder / "state",
        auto_create_topics=False,
        loglevel="WARNING",
    )
    with app.get_producer() as producer:
        scores = Scores(producer, case.success_topic)
        messages = app.topic(case.topic, value_deserializer="bytes", key_deserializer="bytes")
        app.dataframe(messages).sink(scores)
        app.run(count=case.count, collect=False)
    # To leave the consumer group is no longer part of it.
    return scores.acknowledged - began


class Scores(BaseSink):  # type: ignore[misc, unused-ignore]
    """Scores what came since the last checkpoint, and publishes it.

    Attributes:
        acknowledged: when the last scores were.
    """

    def __init__(self, producer: Producer, topic: str) -> None:
        super().__init__()
        self._producer = producer
        self._topic = topic
        self._keys: list[bytes] = []
        self._values: list[bytes] = []
        self._moments: list[int] = []
        self.acknowledged = time.perf_counter()

    def add(self, value: Any, key: Any, timestamp: int, *_: Any, **__: Any) -> None:
        """Keep a message; `timestamp` is in milliseconds."""
        self._keys.append(key)
        self._values.append(value)
        self._moments.append(timestamp // 1000)

    def flush(self) -> None:
        """Score and publish; Quix commits the offsets afterwards."""
        moments = np.array(self._moments, dtype=np.int64)
        scored = score_messages(self._values, moments, (scoring(),), include_transactions=False)
        for row in scored.scores.select(RESULT).to_pylist():
            key = self._keys[row.pop("position")]
            self._producer.produce(self._topic, msgspec.json.encode(row), key)
        self._producer.flush()
        self.acknowledged = time.perf_counter()
        self._keys, self._values, self._moments = [], [], []


if __name__ == "__main__":
    main(run, StreamCase)
