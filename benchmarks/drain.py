"""The stream drains a filled topic, again and again in one warm JVM.

    python -m benchmarks.drain --bootstrap-servers … --folder … [--cores 2] [--partitions 4] …

prints one JSON line: seconds of each repeat, from the first trigger to the end of the last, memory,
and what was processed.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

from pyspark.sql.streaming.listener import (
    QueryIdleEvent,
    QueryProgressEvent,
    QueryStartedEvent,
    QueryTerminatedEvent,
    StreamingQueryListener,
)

from benchmarks.machine import Site, fill, resident_megabytes, size_of
from benchmarks.workload import Workload
from scorestream.local.session import local_session
from scorestream.logs import configure_logs
from scorestream.streaming.job import StreamOptions, run_stream


class Triggers(StreamingQueryListener):
    """Adds up how long the triggers of a query took: planning, batch and checkpoint."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def onQueryStarted(self, event: QueryStartedEvent) -> None:
        pass

    def onQueryProgress(self, event: QueryProgressEvent) -> None:
        self.seconds += event.progress.durationMs["triggerExecution"] / 1000

    def onQueryIdle(self, event: QueryIdleEvent) -> None:
        pass

    def onQueryTerminated(self, event: QueryTerminatedEvent) -> None:
        pass


def drain(site: Site, workload: Workload, arguments: argparse.Namespace) -> dict[str, object]:
    """Drain the workload once to warm up, then as often as asked for."""
    records = site.records(workload)
    spark = local_session(arguments.cores, str(site.folder / "spark"))
    options = StreamOptions(
        available_now=True, max_offsets_per_trigger=arguments.max_offsets_per_trigger
    )
    seconds = []
    for _ in range(arguments.repeats + 1):
        settings = site.settings(arguments.history)
        fill(settings, records, arguments.partitions)
        triggers = Triggers()
        spark.streams.addListener(triggers)
        run_stream(options, settings)
        spark.streams.removeListener(triggers)
        seconds.append(triggers.seconds)
    memory = resident_megabytes(os.getpid())
    return {
        "seconds": seconds[1:],
        "first": seconds[0],
        "messages": len(records),
        "megabytes": size_of(records),
        "memory": memory,
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--bootstrap-servers", required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--messages", type=int, default=20_000)
    parser.add_argument("--mean-transactions", type=float, default=38.0)
    parser.add_argument("--corrupt", type=float, default=0.0)
    parser.add_argument("--whales", type=int, default=0)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument("--history", action="store_true")
    parser.add_argument("--max-offsets-per-trigger", type=int)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    configure_logs("WARNING")
    workload = Workload(
        arguments.messages,
        arguments.mean_transactions,
        corrupt=arguments.corrupt,
        whales=arguments.whales,
    )
    site = Site(arguments.folder, arguments.bootstrap_servers)
    print(json.dumps(drain(site, workload, arguments)))


if __name__ == "__main__":
    main()
