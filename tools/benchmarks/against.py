"""The peers on the same messages: their rates, and whether their scores are ours."""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import numpy as np
from pyspark.sql import SparkSession

from scorestream.infra.config.settings import PROJECT_ROOT
from scorestream.infra.kafka.producer import Record
from scorestream.wallets.core.pipeline import score_messages
from tools.benchmarks.machine import Site, fill
from tools.benchmarks.peers import FileCase, StreamCase, spark_sql, spark_udf
from tools.benchmarks.peers.process import seconds_of
from tools.benchmarks.peers.results import parquet_scores, topic_scores
from tools.benchmarks.peers.scoring import scoring
from tools.benchmarks.workload import AS_OF, Workload
from tools.local.session import local_session

PARTITIONS: Final = 4
RELATIVE: Final = 1e-9
# Quix Streams asks for older packages than ours, so that `make bench` gives it its own.
QUIX_PYTHON: Final = str(PROJECT_ROOT / ".bench" / "quix" / "bin" / "python")

Case = TypeVar("Case", StreamCase, FileCase)
RunStream = Callable[[StreamCase], float]
RunFile = Callable[[FileCase], float]


@dataclass(frozen=True)
class PeerRates:
    """Wallets a second of a peer, each repeat.

    Attributes:
        kind: what it is compared with, `stream` or `backfill`.
    """

    name: str
    kind: str
    messages: int
    rates: list[float]


def measure_peers(site: Site, messages: tuple[int, int, int], repeats: int) -> list[PeerRates]:
    """Run every peer as often as asked for, and compare its scores with ours.

    Args:
        site: the broker, and a folder.
        messages: how many the slow peer gets, those inside of Spark, and the others.
        repeats: of each; those inside of Spark have one more before, to warm up.

    Raises:
        ValueError: a peer's scores are others than ours.
    """
    slow, middling, fast = (Workload(count) for count in messages)
    spark = local_session(2, str(site.folder / "spark"))
    streams: list[tuple[str, RunStream, Workload]] = [
        ("pandas, a wallet at a time, one process", _process("pandas_process"), slow),
        ("our core without Spark, two processes", _process("arrow_processes"), fast),
        ("Quix Streams with our core, one process", _process("quix", QUIX_PYTHON), fast),
        ("Spark SQL, `from_json`", _warm(spark_sql.run, spark), middling),
        ("Spark's source and sinks, `score_messages`", _warm(spark_udf.run, spark), fast),
    ]
    files: list[tuple[str, RunFile, Workload]] = [
        ("Spark SQL, `from_json`", _warm(spark_sql.run_file, spark), middling),
        ("Spark's source and sink, `score_messages`", _warm(spark_udf.run_file, spark), fast),
        ("DuckDB, SQL, two threads", _process("duckdb_sql"), fast),
        ("Polars, expressions, two threads", _process("polars_frame"), fast),
    ]
    try:
        return [
            *(
                _stream(site, name, run, workload, repeats=repeats)
                for name, run, workload in streams
            ),
            *(_file(site, name, run, workload, repeats=repeats) for name, run, workload in files),
        ]
    finally:
        spark.stop()


def _process(peer: str, *python: str) -> Callable[[StreamCase | FileCase], float]:
    return lambda case: seconds_of(peer, case, *python)


def _warm(
    run: Callable[[Case, SparkSession], float], spark: SparkSession
) -> Callable[[Case], float]:
    return lambda case: run(case, spark)


def _stream(
    site: Site, name: str, run: RunStream, workload: Workload, *, repeats: int
) -> PeerRates:
    records = site.records(workload)
    seconds = []
    for _ in range(repeats + 1):
        settings = site.settings(include_transactions=False)
        fill(settings, records, PARTITIONS)
        case = StreamCase(
            bootstrap_servers=settings.kafka_bootstrap_servers,
            topic=settings.kafka_input_topic,
            success_topic=settings.kafka_success_topic,
            count=len(records),
            partitions=PARTITIONS,
            folder=_folder(site),
        )
        seconds.append(run(case))
    scores = topic_scores(case.bootstrap_servers, case.success_topic)
    _refuse_others(name, scores, records)
    return PeerRates(name, "stream", len(records), [len(records) / s for s in seconds[1:]])


def _file(site: Site, name: str, run: RunFile, workload: Workload, *, repeats: int) -> PeerRates:
    records, path = site.records(workload), site.lines(workload)
    seconds = []
    for _ in range(repeats + 1):
        case = FileCase(path, _folder(site), len(records))
        seconds.append(run(case))
    _refuse_others(name, parquet_scores(case.scores), records)
    return PeerRates(name, "backfill", len(records), [len(records) / s for s in seconds[1:]])


def _folder(site: Site) -> Path:
    folder = site.folder / f"peer-{uuid.uuid4().hex[:8]}"
    folder.mkdir()
    return folder


def _refuse_others(name: str, peer_scores: Mapping[str, float], records: Sequence[Record]) -> None:
    values = [record.value for record in records]
    scored = score_messages(
        values, np.full(len(values), AS_OF), (scoring(),), include_transactions=False
    )
    wallets, finals = (scored.scores[c].to_pylist() for c in ("wallet_address", "final_score"))
    expected = dict(zip(wallets, finals, strict=True))
    if peer_scores.keys() != expected.keys():
        raise ValueError(
            f"{name}: {len(peer_scores)} wallets scored, not the {len(expected)} there are"
        )
    wrong = [w for w in expected if not math.isclose(peer_scores[w], expected[w], rel_tol=RELATIVE)]
    if wrong:
        raise ValueError(f"{name}: {len(wrong)} scores are not ours, {wrong[0]} for one")
