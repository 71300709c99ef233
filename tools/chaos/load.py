"""Messages while something breaks: golden wallets and broken messages, in a seeded order."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from scorestream.infra.kafka.cluster import KafkaCluster
from scorestream.infra.kafka.producer import Record
from tools.testkit.golden import broken_records, golden_records

_GOLDEN = golden_records()
# One more, of 10 MB, would hide every other cost.
_BROKEN = broken_records()[:-1]
_BROKEN_SHARE = 0.1
_PAUSE_SECONDS = 0.25


def messages(chance: random.Random, count: int) -> list[Record]:
    """So many messages, a tenth of them broken."""
    return [
        chance.choice(_BROKEN if chance.random() < _BROKEN_SHARE else _GOLDEN) for _ in range(count)
    ]


@contextmanager
def steady_load(
    cluster: KafkaCluster, topic: str, chance: random.Random, rate: float
) -> Iterator[None]:
    """Publish `rate` messages a second until the end of the block."""
    ended = threading.Event()
    failed: list[BaseException] = []

    def run() -> None:
        began, sent = time.monotonic(), 0
        while not ended.wait(_PAUSE_SECONDS):
            try:
                due = int((time.monotonic() - began) * rate)
                sent += cluster.produce(topic, messages(chance, due - sent))
            except BaseException as error:  # noqa: BLE001  raised by who started it
                failed.append(error)
                return

    thread = threading.Thread(target=run, name="load")
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
    if failed:
        raise failed[0]
