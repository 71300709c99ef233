"""All measurements, in order, each in processes of its own."""

from __future__ import annotations

import shutil
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from tools.benchmarks import cluster, latency
from tools.benchmarks.against import PeerRates, measure_peers
from tools.benchmarks.limits import LIMITS, rate
from tools.benchmarks.machine import Site
from tools.benchmarks.run import run_json
from tools.benchmarks.workload import Workload


@dataclass(frozen=True)
class Size:
    """How much is measured.

    Attributes:
        messages: of a drain or backfill.
        repeats: of each figure, after one to warm up; fewer for the shape of growth.
        unusual: whether messages of unusual sizes are drained, too: whales, and real wallets.
        latency_seconds: of each rate.
        fixed_rates: messages a minute.
        shares: further rates, as shares of the drain rate.
        growth: factors of `messages` for the cost as the work grows.
        cores: of drains, beside the machine's two.
        partitions: of drains, beside four.
        transactions: mean transactions of a wallet, beside 38.
        peer_messages: messages for the slow, the middling and the fast peers.
        long_wallets: wallets of the long backfills.
        restart_rows: rows of `scores` for a start after a batch was cut off.
        aged: commits that a table has had, and files that were joined in it.
    """

    messages: int
    repeats: int
    unusual: bool
    latency_seconds: float
    fixed_rates: tuple[float, ...]
    shares: tuple[float, ...]
    growth: tuple[float, ...]
    cores: tuple[int, ...]
    partitions: tuple[int, ...]
    transactions: tuple[float, ...]
    peer_messages: tuple[int, int, int]
    long_wallets: tuple[int, ...]
    restart_rows: tuple[int, ...]
    aged: tuple[tuple[int, int], ...]


FULL: Final = Size(
    messages=20_000,
    repeats=5,
    unusual=True,
    latency_seconds=20,
    fixed_rates=(1_000, 5_000, 10_000),
    shares=(0.5, 0.8),
    growth=(0.25, 1, 4),
    cores=(1,),
    partitions=(1, 16),
    transactions=(10, 150),
    peer_messages=(400, 5_000, 20_000),
    long_wallets=(250_000, 1_000_000),
    restart_rows=(1_000_000, 100_000_000),
    aged=((1_000, 0), (10_000, 0), (100_000, 0), (1_000_000, 0), (1_000, 400_000)),
)
QUICK: Final = Size(
    messages=1_000,
    repeats=1,
    unusual=False,
    latency_seconds=5,
    fixed_rates=(1_000,),
    shares=(),
    growth=(1,),
    cores=(),
    partitions=(),
    transactions=(),
    peer_messages=(50, 200, 1_000),
    long_wallets=(1_000,),
    restart_rows=(10_000,),
    aged=((1_000, 0), (3_000, 1_000)),
)


@dataclass
class Results:
    """What was measured.

    Attributes:
        limits: MB/s by name, for one and for two processes, each repeat.
        drains: what `benchmarks.drain` printed, by name.
        backfill: what `benchmarks.backfill` printed.
        latencies: by name.
        cluster: seconds of the drain on a standalone cluster, and scores.
        peers: wallets a second of each.
        long: what `benchmarks.long` printed.
        restarts: what `benchmarks.restart` printed.
        models: what `benchmarks.models` printed.
        aged: what `benchmarks.aged` printed of each, not tidied and tidied.
    """

    size: Size
    limits: dict[str, dict[int, list[float]]] = field(default_factory=dict)
    drains: dict[str, dict[str, Any]] = field(default_factory=dict)
    backfill: dict[str, Any] = field(default_factory=dict)
    latencies: dict[str, latency.Latency] = field(default_factory=dict)
    cluster: dict[str, Any] = field(default_factory=dict)
    peers: list[PeerRates] = field(default_factory=list)
    long: list[dict[str, float]] = field(default_factory=list)
    restarts: list[dict[str, Any]] = field(default_factory=list)
    models: dict[str, Any] = field(default_factory=dict)
    aged: list[tuple[dict[str, Any], dict[str, Any]]] = field(default_factory=list)


def measure_all(site: Site, size: Size) -> Results:
    """Measure everything; each part says on stderr what it does."""
    results = Results(size)
    parts: tuple[Callable[[Site, Results], None], ...] = (
        _limits,
        _drains,
        _backfill,
        _latencies,
        _cluster,
        _peers,
        _long,
        _restarts,
        _models,
        _aged,
    )
    for part in parts:
        started = time.monotonic()
        part(site, results)
        print(f"{part.__name__[1:]}: {time.monotonic() - started:.0f} s", file=sys.stderr)
    return results


def _limits(site: Site, results: Results) -> None:
    values = [r.value or b"" for r in site.records(Workload(results.size.messages))]
    for _ in range(results.size.repeats):
        # All of them in each round, so that a slow minute of the machine hits all alike.
        for name, work in LIMITS.items():
            for processes in (1, 2):
                rates = results.limits.setdefault(name, {}).setdefault(processes, [])
                rates.append(rate(work, values, processes))


def _drains(site: Site, results: Results) -> None:
    size = results.size
    few = max(1, size.repeats - 3)
    cases: dict[str, dict[str, object]] = {
        "stream": {},
        "stream, history on": {"history": True},
        "stream, 1 % corrupt": {"corrupt": 0.01},
    }
    shapes: dict[str, dict[str, object]] = {}
    if size.unusual:
        shapes["whales"] = {"whales": max(1, size.messages // 2000)}
        shapes["real swaps of 2021"] = {"real": True, "messages": 4 * size.messages}
    shapes |= {f"cores {n}": {"cores": n} for n in size.cores}
    shapes |= {f"partitions {n}": {"partitions": n} for n in size.partitions}
    shapes |= {
        f"messages x{factor:g}": {"messages": round(size.messages * factor)}
        for factor in size.growth
        if factor != 1
    }
    shapes |= {
        f"transactions {mean:g}": {
            "mean-transactions": mean,
            "messages": round(size.messages * 38 / mean) if mean > 38 else size.messages,
        }
        for mean in size.transactions
    }
    cases |= {name: options | {"repeats": few} for name, options in shapes.items()}
    for name, options in cases.items():
        results.drains[name] = _drain(site, size, options)


def _drain(site: Site, size: Size, options: dict[str, object]) -> dict[str, Any]:
    flags = {"messages": size.messages, "repeats": size.repeats} | options
    arguments = [f"--bootstrap-servers={site.bootstrap_servers}"]
    for name, value in flags.items():
        arguments.append(f"--{name}" if value is True else f"--{name}={value}")
    return run_json("tools.benchmarks.drain", f"--folder={site.folder}", *arguments)


def _backfill(site: Site, results: Results) -> None:
    results.backfill = run_json(
        "tools.benchmarks.backfill",
        f"--folder={site.folder}",
        f"--messages={results.size.messages}",
        f"--repeats={results.size.repeats}",
    )


def _latencies(site: Site, results: Results) -> None:
    size = results.size
    records = site.records(Workload(size.messages))[:2000]
    for rate_a_minute in size.fixed_rates:
        name = f"{rate_a_minute:,.0f} a minute"
        results.latencies[name] = latency.measure(
            site, records, rate_a_minute, size.latency_seconds, include_transactions=True
        )
    drain = results.drains["stream"]
    a_minute = drain["messages"] / statistics.median(drain["seconds"]) * 60
    for share in size.shares:
        results.latencies[f"{share:.0%} of the drain rate"] = latency.measure(
            site, records, share * a_minute, size.latency_seconds, include_transactions=False
        )


def _cluster(site: Site, results: Results) -> None:
    results.cluster = cluster.drain(site, Workload(results.size.messages))


def _peers(site: Site, results: Results) -> None:
    size = results.size
    results.peers = measure_peers(site, size.peer_messages, size.repeats)


def _long(site: Site, results: Results) -> None:
    results.long = [
        run_json("tools.benchmarks.long", f"--folder={site.folder}", f"--wallets={wallets}")
        for wallets in results.size.long_wallets
    ]


def _restarts(site: Site, results: Results) -> None:
    for rows in results.size.restart_rows:
        folder = site.folder / f"restart-{rows}"
        arguments = (f"--folder={folder}", f"--rows={rows}")
        results.restarts.append(run_json("tools.benchmarks.restart", *arguments))
        shutil.rmtree(folder)


def _models(site: Site, results: Results) -> None:
    results.models = run_json(
        "tools.benchmarks.models",
        f"--folder={site.folder}",
        f"--wallets={results.size.messages}",
        f"--repeats={results.size.repeats}",
    )


def _aged(site: Site, results: Results) -> None:
    for commits, removed in results.size.aged:
        arguments = (f"--folder={site.folder}", f"--commits={commits}", f"--removed={removed}")
        before = run_json("tools.benchmarks.aged", *arguments)
        after = run_json("tools.benchmarks.aged", *arguments, "--tidy")
        results.aged.append((before, after))
