"""The results as docs/benchmarks.md and its plot."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from string import Template
from typing import Any, Final

import matplotlib as mpl
from matplotlib import pyplot as plt

from scorestream.infra.version import code_version
from tools.benchmarks.measure import Results

TEMPLATE: Final = Path(__file__).with_name("report.template.md")
PARSER: Final = "orjson.loads"
PARSER_KEPT: Final = "orjson.loads, batch kept"
GOALS: Final = (
    ("stream drains a filled topic", "stream", 0.30, 0.5),
    ("backfill from JSON lines", "files", 0.40, 0.6),
    ("backfill from `transactions`", "history", 1.0, 1.0),
)


def write_report(results: Results, folder: Path) -> None:
    """Write `benchmarks.md` and `benchmarks.svg` into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    text = Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        _facts(results),
        goals=_goals(results),
        limits=_limits(results),
        drains=_drains(results),
        latencies=_latencies(results),
        peers=_peers(results),
        long=_long(results),
        restarts=_restarts(results),
        models=_models(results.models),
        aged=_aged(results),
    )
    # Both are tracked files: the code's own state is asked for before they change.
    (folder / "benchmarks.md").write_text(text, encoding="utf-8")
    _plot(results, folder / "benchmarks.svg")


def _facts(results: Results) -> dict[str, object]:
    clean = _cost(results.drains["stream"])
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "code": code_version(),
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "repeats": results.size.repeats,
        "messages": f"{results.size.messages:,}",
        "dropped": f"{_rate_of(results, PARSER):,.0f}",
        "kept": f"{_rate_of(results, PARSER_KEPT):,.0f}",
        "history": f"{_cost(results.drains['stream, history on']) / clean:.2f}",
        "corrupt": f"{_cost(results.drains['stream, 1 % corrupt']) / clean:.2f}",
        "seconds": f"{results.size.latency_seconds:g}",
    }


def _goals(results: Results) -> str:
    dropped, held_rate = (_rate_of(results, name) for name in (PARSER, PARSER_KEPT))
    goals = {
        "stream": _rates(results.drains["stream"]),
        "files": _rates(results.backfill, "files"),
        "history": _rates(results.backfill, "history"),
    }
    rows = []
    for name, key, least, aim in GOALS:
        rate = statistics.median(goals[key])
        goal = f"{least:g}" if least == aim else f"{least:g}, aim {aim:g}"
        rows.append(
            [name, _spread(goals[key]), f"{rate / dropped:.2f}", f"{rate / held_rate:.2f}", goal]
        )
    return _table(["what", "MB/s", "of dropped", "of kept", "goal"], rows)


def _limits(results: Results) -> str:
    rows = [
        [name, *(_spread(by_processes[n]) for n in (1, 2))]
        for name, by_processes in results.limits.items()
    ]
    return _table(["MB/s", "one process", "two processes"], rows)


def _drains(results: Results) -> str:
    clean = _cost(results.drains["stream"])
    rows = [
        [
            name,
            f"{statistics.median(_wallet_rates(figures)):,.0f}",
            _spread(_rates(figures)),
            f"{_cost(figures) / clean:.2f}",
            f"{figures['first']:.1f}",
            _memory(figures["memory"]),
        ]
        for name, figures in results.drains.items()
    ]
    cluster = results.cluster
    rates = [f"{cluster['rate']:,.0f}", f"{cluster['megabytes_a_second']:,.0f}"]
    rows.append(["standalone cluster, two workers of one core", *rates, "", "", ""])
    return _table(["case", "wallets/s", "MB/s", "cost of a MB", "first, s", "memory, MB"], rows)


def _latencies(results: Results) -> str:
    rows = []
    for name, each in results.latencies.items():
        waits = [each.mean, each.p50, each.p95, each.p99, each.longest]
        numbers = [f"{value:.2f}" for value in waits]
        rows.append([name, f"{each.offered:,.0f}", *numbers, _memory(each.memory)])
    return _table(["load", "a minute", "mean", "p50", "p95", "p99", "max", "memory, MB"], rows)


def _memory(memory: Mapping[str, float]) -> str:
    return f"JVM {memory['jvm']:,.0f}, Python {memory['python']:,.0f}"


def _peers(results: Results) -> str:
    fastest = {
        "stream": statistics.median(_wallet_rates(results.drains["stream"])),
        "backfill": results.backfill["messages"] / statistics.median(results.backfill["files"]),
    }
    rows = []
    for peer in results.peers:
        share = statistics.median(peer.rates) / fastest[peer.kind]
        rows.append(
            [peer.name, peer.kind, f"{peer.messages:,}", _spread(peer.rates), f"{share:.3f}"]
        )
    return _table(["peer", "against", "messages", "wallets/s", "of Scorestream"], rows)


def _long(results: Results) -> str:
    rows = [
        [
            f"{each['wallets']:,.0f}",
            f"{each['transactions']:,.0f}",
            f"{each['seconds']:,.0f}",
            f"{each['wallets'] / each['seconds']:,.0f}",
            _memory(each),
            f"{each['read']:,.0f}",
            f"{each['written']:,.0f}",
        ]
        for each in results.long
    ]
    head = ["wallets", "transactions", "s", "wallets/s", "peak memory, MB", "MB read", "MB written"]
    return _table(head, rows)


def _restarts(results: Results) -> str:
    rows = [
        [
            f"{each['rows']:,.0f}",
            f"{each['megabytes']:,.0f}",
            case,
            *(f"{each[case][part]['seconds']:.2f}" for part in ("start", "batch")),
            *(f"{each[case][part]['megabytes']:,.1f}" for part in ("start", "batch")),
        ]
        for each in results.restarts
        for case in ("usual", "clustered")
    ]
    head = ["rows", "MB", "case", "start, s", "batch, s", "start, MB read", "batch, MB read"]
    return _table(head, rows)


def _models(figures: Mapping[str, Any]) -> str:
    a_wallet = 1e6 / figures["wallets"]
    rows = [["scoring alone", f"{figures['scoring'] * a_wallet:,.0f}", "", ""]]
    for name, each in figures["models"].items():
        costs = [seconds * a_wallet for seconds in each["seconds"]]
        rows.append([name, _spread(costs), f"{each['first']:.1f}", f"{each['megabytes']:,.0f}"])
    return _table(["model", "µs a wallet", "first call, s", "MB a worker"], rows)


def _aged(results: Results) -> str:
    rows = [
        [f"{before['commits']:,}", f"{removed:,}", *_commits(before), *_commits(after)]
        for (_, removed), (before, after) in zip(results.size.aged, results.aged, strict=True)
    ]
    figures = ["entries", "ms, median", "ms, longest", "MB"]
    return _table(["commits made", "files joined", *figures, *figures], rows)


def _commits(results: Mapping[str, Any]) -> list[str]:
    durations = results["milliseconds"]
    figures = (statistics.median(durations), max(durations), results["megabytes"])
    return [f"{results['entries']:,}", *(f"{figure:,.0f}" for figure in figures)]


def _rate_of(results: Results, name: str) -> float:
    return statistics.median(results.limits[name][2])


def _rates(figures: dict[str, Any], key: str = "seconds") -> list[float]:
    return [figures["megabytes"] / seconds for seconds in figures[key]]


def _wallet_rates(figures: dict[str, Any]) -> list[float]:
    return [figures["messages"] / seconds for seconds in figures["seconds"]]


def _cost(figures: dict[str, Any]) -> float:
    """Seconds a MB."""
    cost: float = statistics.median(figures["seconds"]) / figures["megabytes"]
    return cost


def _spread(values: Sequence[float]) -> str:
    middle = f"{statistics.median(values):,.0f}"
    return middle if len(values) == 1 else f"{middle} ({min(values):,.0f}–{max(values):,.0f})"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _plot(results: Results, path: Path) -> None:
    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "scorestream"
    figure, (bars, load, growth) = plt.subplots(1, 3, figsize=(15, 4.5), layout="constrained")
    _plot_bars(bars, results)
    _plot_load(load, results)
    _plot_growth(growth, results)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def _plot_bars(axes: Any, results: Results) -> None:
    rates = {f"{name}, ×2": _rate_of(results, name) for name in results.limits if name != "memcpy"}
    rates["stream"] = statistics.median(_rates(results.drains["stream"]))
    rates["stream, history on"] = statistics.median(_rates(results.drains["stream, history on"]))
    rates["backfill, files"] = statistics.median(_rates(results.backfill, "files"))
    rates["backfill, history"] = statistics.median(_rates(results.backfill, "history"))
    ours = ["#1f77b4" if name.startswith(("stream", "backfill")) else "#bbbbbb" for name in rates]
    axes.barh([*rates], [*rates.values()], color=ours)
    axes.invert_yaxis()
    axes.set_xlabel("MB/s of JSON, two cores")
    axes.set_title("Throughput")


def _plot_load(axes: Any, results: Results) -> None:
    points = sorted(results.latencies.values(), key=lambda each: each.offered)
    offered = [each.offered for each in points]
    for label, values in (
        ("p50", [each.p50 for each in points]),
        ("p95", [each.p95 for each in points]),
        ("p99", [each.p99 for each in points]),
    ):
        axes.plot(offered, values, marker="o", label=label)
    axes.set_xscale("log")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("wallets a minute")
    axes.set_ylabel("s")
    axes.set_title("Latency against load")
    axes.legend()


def _plot_growth(axes: Any, results: Results) -> None:
    cases = [f for n, f in results.drains.items() if n == "stream" or n.startswith("messages x")]
    cases.sort(key=lambda figures: figures["messages"])
    axes.plot(
        [figures["messages"] for figures in cases],
        [_cost(figures) * 1000 for figures in cases],
        marker="o",
    )
    axes.set_xscale("log")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("messages in the topic")
    axes.set_ylabel("ms a MB")
    axes.set_title("Cost as the work grows")
