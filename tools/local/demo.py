"""`make demo`: samples through a real broker and the real job, and what came of them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import Any, Final

import duckdb
import pyarrow as pa
from deltalake import DeltaTable
from rich.console import Console
from rich.table import Table

from scorestream.infra.config.settings import PROJECT_ROOT, Settings, load_settings
from scorestream.infra.delta.table_features import arrow_dataset
from scorestream.infra.display import cell, visible_lines
from scorestream.infra.errors import ScorestreamError
from scorestream.infra.kafka.cluster import KafkaCluster
from scorestream.infra.logs import configure_logs
from tools.local.broker import LocalBroker
from tools.local.demo_models import (
    WALLET_MODELS,
    demo_settings,
    show_models,
    train_lacking,
)
from tools.local.samples import sample_records

BEST: Final = 8
BAR: Final = 40
NEXT_QUERIES: Final = (
    "SELECT rank, wallet_address, zscore, tags FROM leaderboard LIMIT 10",
    "SELECT error_code, count(*) AS messages, min(error) AS example FROM rejects GROUP BY ALL",
    "SELECT protocol, count(*) AS swaps, sum(usd_value) AS usd FROM transactions GROUP BY ALL",
)

console = Console()


def main() -> int:
    """Run the demo; a known failure is one line and exit code 1."""
    try:
        settings = load_settings()
        configure_logs(settings.log_level)
        demonstrate(settings)
    except ScorestreamError as error:
        print(visible_lines(f"{type(error).__name__}: {error}"), file=sys.stderr)
        return 1
    return 0


def demonstrate(settings: Settings) -> None:
    """Run the demo.

    1. start the local broker     2. publish the samples
    3. train the wallet models, if none serve yet
    4. run the stream until it has drained     5. show what it wrote
    """
    own = demo_settings(settings)
    console.rule("1 · broker")
    broker = LocalBroker.from_environment()
    started = broker.start()
    state = "started" if started else "runs already"
    console.print(cell(f"{state} at {broker.bootstrap_servers}"))
    console.rule("2 · publish samples")
    cluster = KafkaCluster(settings)
    cluster.ensure_topics()
    count = cluster.produce(settings.kafka_input_topic, sample_records())
    console.print(cell(f"{count:,} messages → {settings.kafka_input_topic}"))
    console.rule("3 · train two models of wallets on generated ones")
    trained = train_lacking(own)
    console.print(f"trained: {', '.join(trained)}" if trained else "they serve already")
    console.rule(f"4 · WALLET_MODELS={WALLET_MODELS} ./spark-submit.sh stream_scores")
    before = time.time()
    _drain(own)
    # 5. Show what it wrote.
    show(own, before)


def _drain(settings: Settings) -> None:
    job = [str(PROJECT_ROOT / "spark-submit.sh"), "stream_scores", "--available-now"]
    models = {"WALLET_MODELS": WALLET_MODELS, "MLFLOW_TRACKING_URI": settings.tracking_uri}
    code = subprocess.run(job, env=os.environ | models, check=False).returncode
    if code:
        raise ScorestreamError(f"the stream ended with exit code {code}")


def show(settings: Settings, since: float) -> None:
    """Print what the runs since a moment (unix seconds) wrote to the warehouse."""
    with duckdb.connect() as sql:
        for name in ("scores", "rejects"):
            sql.register(name, _table(settings, name))
        _show_counts(sql, since)
        _show_best(sql, since)
        _show_distribution(sql, since)
        _show_rejects(sql, since)
        show_models(settings, sql, since, console)
    console.rule("try next")
    for query in NEXT_QUERIES:
        console.print(cell(f'./spark-submit.sh query "{query}"'), soft_wrap=True)


def _table(settings: Settings, name: str) -> pa.Table:
    return arrow_dataset(DeltaTable(f"{settings.warehouse}/{name}")).to_table()


def _show_counts(sql: duckdb.DuckDBPyConnection, since: float) -> None:
    scores, wallets, transactions, ms = _row(
        sql,
        """SELECT count(*), count(DISTINCT wallet_address), sum(transaction_count),
           sum(ms) FROM (SELECT *, CASE WHEN row_number() OVER (PARTITION BY run_id, batch_id) = 1
             THEN processing_time_ms END AS ms FROM scores WHERE epoch(scored_at) >= $1)""",
        since,
    )
    (rejects,) = _row(sql, "SELECT count(*) FROM rejects WHERE epoch(rejected_at) >= $1", since)
    console.rule("5 · what happened")
    rate = (scores + rejects) * 1000 / ms if ms else 0
    console.print(
        f"{scores + rejects:,} messages: [green]{scores:,} scored[/] ({wallets:,} wallets, "
        f"{transactions or 0:,} transactions), [red]{rejects:,} rejected[/]\n"
        f"{rate:,.0f} messages/s from the start of the batch to its results, cold JVM included"
    )


def _show_best(sql: duckdb.DuckDBPyConnection, since: float) -> None:
    rows = sql.execute(
        """SELECT wallet_address, max(zscore) AS best, arg_max(tags, zscore),
             arg_max(lp_score, zscore), arg_max(swap_score, zscore), arg_max(breakdown, zscore)
           FROM scores WHERE epoch(scored_at) >= $1
           GROUP BY wallet_address ORDER BY best DESC, 1 LIMIT $2""",
        [since, BEST],
    ).fetchall()
    table = Table(title="best wallets", title_justify="left")
    for name in ("wallet", "score", "LP", "swap", "tags", "why: points of each part"):
        table.add_column(name, justify="right" if name in {"score", "LP", "swap"} else "left")
    for wallet, score, tags, lp, swap, breakdown in rows:
        short = f"{wallet[:8]}…{wallet[-6:]}"
        points = f"{score:.1f}", f"{lp:.0f}", f"{swap:.0f}"
        table.add_row(cell(short), *points, cell(", ".join(tags)), cell(_format_reasons(breakdown)))
    console.print(table)


def _format_reasons(breakdown: dict[str, dict[str, float]]) -> str:
    """The parts that gave points, most first."""
    parts = [
        (points, f"{side} {name.removesuffix('_score')}")
        for side, scores in breakdown.items()
        for name, points in scores.items()
        if points
    ]
    return ", ".join(f"{name} {points:.0f}" for points, name in sorted(parts, reverse=True)[:5])


def _show_distribution(sql: duckdb.DuckDBPyConnection, since: float) -> None:
    rows = sql.execute(
        """SELECT floor(final_score / 100) * 100 AS low, count(*) FROM scores
           WHERE epoch(scored_at) >= $1 GROUP BY ALL ORDER BY low""",
        [since],
    ).fetchall()
    most = max((count for _, count in rows), default=1)
    console.print("score distribution")
    for low, count in rows:
        bar = "█" * max(1, round(BAR * count / most))
        console.print(f"{low:5.0f} to {low + 100:4.0f} {bar} {count:,}", highlight=False)


def _show_rejects(sql: duckdb.DuckDBPyConnection, since: float) -> None:
    rows = sql.execute(
        """SELECT error_code, count(*), min(error) FROM rejects
           WHERE epoch(rejected_at) >= $1 GROUP BY ALL ORDER BY 2 DESC, 1""",
        [since],
    ).fetchall()
    table = Table("code", "messages", "for instance", title="rejects", title_justify="left")
    for code, count, example in rows:
        table.add_row(cell(code), f"{count:,}", cell(example))
    console.print(table)


def _row(sql: duckdb.DuckDBPyConnection, query: str, since: float) -> tuple[Any, ...]:
    row = sql.execute(query, [since]).fetchone()
    return row if row is not None else ()


if __name__ == "__main__":
    sys.exit(main())
