"""Messages while something breaks: golden wallets and broken messages, in a seeded order."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from golden import broken_records, golden_records
from scorestream.io.kafka.cluster import KafkaCluster
from scorestream.io.kafka.producing import Record

# One more, of 10 MB, would hide every other cost.
_BROKEN = broken_records()[:-1]
_BROKEN_SHARE = 0.1
_PUBLISHES_A_SECOND = 10


def messages(chance: random.Random, count: int) -> list[Record]:
    """So many messages, a tenth of them broken."""
    golden = golden_records()
    return [
        chance.choice(_BROKEN if chance.random() < _BROKEN_SHARE else golden) for _ in range(count)
    ]


@contextmanager
def steady_load(
    cluster: KafkaCluster, topic: str, chance: random.Random, rate: int
) -> Iterator[None]:
    """Publish about `rate` messages a second until the end of the block."""
    ended = threading.Event()
    failed: list[BaseException] = []

    def run() -> None:
        while not ended.wait(1 / _PUBLISHES_A_SECOND):
            try:
                cluster.produce(topic, messages(chance, max(1, rate // _PUBLISHES_A_SECOND)))
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
