"""A running stream drains a filled topic, again and again.

    python -m tools.benchmarks.drain --bootstrap-servers … --folder … [--cores 2] [--partitions 4] …

prints one JSON line: seconds of each trigger after the first, memory, and what was processed.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import signal
import threading
import time
from pathlib import Path

from pyspark.sql.streaming.listener import (
    QueryIdleEvent,
    QueryProgressEvent,
    QueryStartedEvent,
    QueryTerminatedEvent,
    StreamingQueryListener,
)

from scorestream.infra.kafka.cluster import KafkaCluster
from scorestream.infra.kafka.producer import Record
from scorestream.infra.logs import configure_logs
from scorestream.wallets.stream.job import ScoreStreamOptions, run_stream
from tools.benchmarks.machine import (
    Site,
    fill,
    resident_megabytes,
    size_of,
)
from tools.benchmarks.workload import Workload
from tools.local.session import local_session

# Rates that a fill and a drain of these messages certainly reach, in MB/s, and what else they take.
SLOWEST_FILL = 110.0
SLOWEST_DRAIN = 90.0
SPARE_SECONDS = 3.0


class Drains(StreamingQueryListener):
    """Notes how long each trigger took that processed anything: planning, batch and checkpoint."""

    def __init__(self, messages: int) -> None:
        self.seconds: list[float] = []
        self.changed = threading.Condition()
        self.started = threading.Event()
        self.torn = False
        self._messages = messages

    def onQueryStarted(self, event: QueryStartedEvent) -> None:
        self.started.set()

    def onQueryProgress(self, event: QueryProgressEvent) -> None:
        source = event.progress.sources[0]
        done = _total(source.endOffset) - _total(source.startOffset)
        with self.changed:
            if done == self._messages:
                self.seconds.append(event.progress.durationMs["triggerExecution"] / 1000)
            elif done:
                self.torn = True
            self.changed.notify_all()

    def onQueryIdle(self, event: QueryIdleEvent) -> None:
        pass

    def onQueryTerminated(self, event: QueryTerminatedEvent) -> None:
        pass


def _total(offsets: str | None) -> int:
    if offsets in {None, "", "null", "None"}:
        return 0
    return sum(sum(partitions.values()) for partitions in json.loads(str(offsets)).values())


def drain(site: Site, arguments: argparse.Namespace) -> dict[str, object]:
    """Drain the workload once to warm up, then as often as asked for, in one running stream.

    The topic is filled between two triggers, so that each finds all messages there.
    """
    records = _records(site, arguments)
    size = size_of(records)
    interval = math.ceil(SPARE_SECONDS + size / SLOWEST_FILL + size / SLOWEST_DRAIN)
    settings = site.settings(include_transactions=arguments.history)
    fill(settings, [], arguments.partitions)
    spark = local_session(arguments.cores, str(site.folder / "spark"))
    drains = Drains(len(records))
    spark.streams.addListener(drains)

    def feed() -> None:
        cluster = KafkaCluster(settings)
        # The first trigger comes with the start, all others at whole multiples of the interval.
        drains.started.wait()
        time.sleep(interval)
        for repeat in range(arguments.repeats + 1):
            time.sleep(interval - time.time() % interval + 0.5)
            cluster.produce(settings.kafka_input_topic, records)
            with drains.changed:
                drains.changed.wait_for(lambda: len(drains.seconds) > repeat, 4 * interval)  # noqa: B023  awaited here
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=feed, daemon=True).start()
    run_stream(ScoreStreamOptions(trigger=f"{interval} seconds"), settings)
    if drains.torn or len(drains.seconds) <= arguments.repeats:
        raise ValueError("a trigger came while the topic was being filled: a busy machine?")
    return {
        "seconds": drains.seconds[1:],
        "first": drains.seconds[0],
        "messages": len(records),
        "megabytes": size,
        "memory": resident_megabytes(os.getpid()),
    }


def _records(site: Site, arguments: argparse.Namespace) -> list[Record]:
    if arguments.real:
        return site.real_records(arguments.messages)
    mean, corrupt = arguments.mean_transactions, arguments.corrupt
    return site.records(
        Workload(arguments.messages, mean, corrupt=corrupt, whales=arguments.whales)
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--bootstrap-servers", required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--messages", type=int, default=20_000)
    parser.add_argument("--mean-transactions", type=float, default=38.0)
    parser.add_argument("--corrupt", type=float, default=0.0)
    parser.add_argument("--whales", type=int, default=0)
    parser.add_argument("--real", action="store_true", help="the swaps of samples/ instead")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument("--history", action="store_true")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    configure_logs("WARNING")
    site = Site(arguments.folder, arguments.bootstrap_servers)
    print(json.dumps(drain(site, arguments)))


if __name__ == "__main__":
    main()
