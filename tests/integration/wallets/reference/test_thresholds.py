"""Thresholds: what they are over a history, their versions, and their way out and back in."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from pydantic import SecretStr
from pymongo import MongoClient
from pyspark.sql import SparkSession

from scorestream.infra.config.settings import PROJECT_ROOT, Settings
from scorestream.infra.delta.warehouse import Warehouse
from scorestream.infra.errors import ConfigurationError, InputError, ReferenceDataUnavailable
from scorestream.infra.kafka.producer import Record
from scorestream.wallets.backfill.job import run_backfill
from scorestream.wallets.backfill.planning import BackfillOptions
from scorestream.wallets.core.scoring import Scoring
from scorestream.wallets.execution.scoring_task import commit_files, score_records, write_scored
from scorestream.wallets.execution.table_rows import BatchFacts
from scorestream.wallets.reference import refresh_thresholds as job
from scorestream.wallets.reference.mongodb import fetch_reference
from scorestream.wallets.reference.reference_data import (
    Threshold,
    load_conf_reference,
    parse_reference,
)
from scorestream.wallets.reference.refresh_thresholds import (
    RefreshOptions,
    compute_thresholds,
    refresh_thresholds,
)
from scorestream.wallets.reference.snapshots import current_reference, keep_copy
from scorestream.wallets.schema.columns import PERCENTILES
from scorestream.wallets.schema.tables import PROTOCOL_THRESHOLDS, SCORES, TRANSACTIONS
from tools.testkit.go_programs import has_go
from tools.testkit.golden import golden_records
from tools.testkit.mongo_server import NO_GO, own_server
from tools.testkit.records import records_of

pytestmark = [pytest.mark.spark, pytest.mark.timeout(900)]

CONF = PROJECT_ROOT / "conf"
LATE = 2_000_000_000
DAY = 86_400


@pytest.fixture
def settings(warehouse: Warehouse) -> Settings:
    return Settings(scorestream_warehouse=warehouse.root)


def store(
    warehouse: Warehouse, scoring: Scoring, records: list[Record], first_offset: int = 0
) -> None:
    """Messages and their history, as the stream stores them."""
    facts = BatchFacts("stream", first_offset, 1.7e9, code_version="1")
    batch = records_of(records, first_offset)
    report = write_scored(
        score_records([batch], (scoring,), include_transactions=True),
        warehouse.root,
        facts,
        include_transactions=True,
    )
    assert report.scores == len(records)
    commit_files(warehouse, report.files, None)


def message(wallet: str, *rows: dict[str, Any], as_of: int = 1_000_000) -> Record:
    entry = {"protocolType": "dexes", "transactions": list(rows)}
    value = json.dumps({"wallet_address": wallet, "data": [entry]}).encode()
    return Record(wallet.encode(), value, as_of * 1000)


def swap(document: str, usd_in: float, usd_out: float, **changed: Any) -> dict[str, Any]:
    legs = {"tokenIn": {"amountUSD": usd_in}, "tokenOut": {"amountUSD": usd_out}}
    row = {"document_id": document, "action": "swap", "timestamp": 10, "protocol": "p"}
    return row | legs | changed


def deposit(document: str, usd: float, **changed: Any) -> dict[str, Any]:
    legs = {"token0": {"amountUSD": usd}, "token1": {"amountUSD": usd}}
    row = {"document_id": document, "action": "deposit", "timestamp": 10, "protocol": "p"}
    return row | legs | changed


def medians(spark: SparkSession, warehouse: Warehouse, as_of: int = LATE) -> dict[Any, Any]:
    found = compute_thresholds(spark, warehouse, RefreshOptions(as_of, min_wallets=1))
    return {threshold.key: (threshold.p50, threshold.n) for threshold in found}


def expected(rows: list[dict[str, Any]], as_of: int) -> dict[tuple[str, ...], list[float]]:
    """The samples, from rows of which no document comes twice."""
    features: dict[Any, dict[str, Any]] = defaultdict(lambda: defaultdict(float))
    for row in (r for r in rows if r["timestamp"] <= as_of):
        for protocol in (row["protocol"], "*"):
            of_wallet = features[protocol, row["wallet_key"]]
            if row["action"] == "deposit":
                of_wallet["deposit_usd"] += row["usd_value"]
                of_wallet["num_deposits"] += 1
            if row["action"] == "swap":
                legs = [row[leg]["amount_usd"] for leg in ("token_in", "token_out")]
                of_wallet["volume"] += min([usd for usd in legs if usd > 0], default=0.0)
                of_wallet["num_swaps"] += 1
                of_wallet["days"] = {*(of_wallet["days"] or ()), row["timestamp"] // DAY}
                of_wallet["active_days"] = len(of_wallet["days"])
    samples: dict[tuple[str, ...], list[float]] = defaultdict(list)
    for (protocol, _), of_wallet in features.items():
        for name in set(of_wallet) - {"days"}:
            samples[protocol, name].append(of_wallet[name])
    return samples


def test_percentiles_of_golden_wallets_are_those_of_plain_python(
    warehouse: Warehouse, scoring: Scoring, spark: SparkSession
) -> None:
    store(warehouse, scoring, golden_records())
    rows = warehouse.rows(TRANSACTIONS)
    as_of = sorted(r["timestamp"] for r in rows)[len(rows) // 2]
    for moment in (as_of, LATE):
        samples = expected(rows, moment)
        found = compute_thresholds(spark, warehouse, RefreshOptions(moment, min_wallets=10))
        assert {t.key: t.n for t in found} == {
            key: len(sample) for key, sample in samples.items() if len(sample) >= 10
        }
        for threshold in found:
            values = np.percentile(np.array(samples[threshold.key]), PERCENTILES)
            assert threshold.values == pytest.approx(tuple(values), rel=1e-12), threshold.key
            assert threshold.as_of == moment


def test_a_document_counts_once_as_it_was_last_known(
    warehouse: Warehouse, scoring: Scoring, spark: SparkSession
) -> None:
    first = message("0xAB", swap("a", 100, 90), swap("b", 7, 0), deposit("c", 50))
    later = message("0xab", swap("a", 3, 5), deposit("c", 50, timestamp=LATE), as_of=2_000_000)
    store(warehouse, scoring, [later])
    store(warehouse, scoring, [first], first_offset=9)
    # a: the later message's smaller leg; b: its only priced leg; c: moved beyond the moment.
    assert medians(spark, warehouse, LATE - 1) == {
        (protocol, feature): (value, 1)
        for protocol in ("*", "p")
        for feature, value in (("volume", 10.0), ("num_swaps", 2.0), ("active_days", 1.0))
    }
    assert medians(spark, warehouse)["p", "deposit_usd"] == (100.0, 1)


def test_of_a_document_twice_in_a_message_the_same_one_counts_as_in_scores(
    warehouse: Warehouse, scoring: Scoring, spark: SparkSession
) -> None:
    twice = swap("a", 9, 9, timestamp=4), swap("a", 1, 1, timestamp=5), swap("a", 2, 2, timestamp=5)
    for offset, rows in enumerate((twice, twice[::-1])):
        store(warehouse, scoring, [message(str(offset), *rows)], offset)
    run_backfill(
        BackfillOptions("transactions", (LATE,), run_id="history"),
        Settings(scorestream_warehouse=warehouse.root),
    )
    scored = [r for r in warehouse.rows(SCORES) if r["run_id"] == "history"]
    volumes = {row["features"]["total_swap_volume"] for row in scored}
    assert {medians(spark, warehouse)["p", "volume"]} == {(volume, 2) for volume in volumes}


def test_wallets_are_in_the_samples_of_what_they_have(
    warehouse: Warehouse, scoring: Scoring, spark: SparkSession
) -> None:
    records = [
        message("unpriced", swap("a", 0, 0)),
        message("two", swap("a", 4, 4), swap("b", 6, 6, protocol="q", timestamp=2 * DAY)),
        message("nameless", deposit("a", 5, protocol=None), deposit("b", 5, protocol="*")),
        message("beyond", deposit("a", 8e307), deposit("b", 8e307, timestamp=11)),
        message("other", {"document_id": "a", "action": "borrow", "timestamp": 1}),
    ]
    store(warehouse, scoring, records[:3] + records[4:])
    store(warehouse, scoring, [message("beyond", deposit("a", 8e307))], 10)
    store(warehouse, scoring, [message("beyond", deposit("b", 8e307))], 20)
    assert medians(spark, warehouse) == {
        ("*", "volume"): (5.0, 2),
        ("*", "num_swaps"): (1.5, 2),
        ("*", "active_days"): (1.5, 2),
        ("*", "deposit_usd"): (20.0, 1),
        ("*", "num_deposits"): (2.0, 2),
        ("p", "volume"): (2.0, 2),
        ("p", "num_swaps"): (1.0, 2),
        ("p", "active_days"): (1.0, 2),
        ("p", "num_deposits"): (2.0, 1),
        ("q", "volume"): (6.0, 1),
        ("q", "num_swaps"): (1.0, 1),
        ("q", "active_days"): (1.0, 1),
    }


def test_the_order_of_rows_changes_no_digit(
    warehouse: Warehouse, scoring: Scoring, spark: SparkSession
) -> None:
    store(warehouse, scoring, golden_records())
    options = RefreshOptions(LATE, min_wallets=2)
    before = compute_thresholds(spark, warehouse, options)
    path = warehouse.path(TRANSACTIONS)
    rows = pa.table(DeltaTable(path).to_pyarrow_table())
    shuffled = rows.take(np.random.default_rng(5).permutation(rows.num_rows))
    half = rows.num_rows // 2
    write_deltalake(path, shuffled[:half], mode="overwrite")
    write_deltalake(path, shuffled[half:], mode="append")
    assert compute_thresholds(spark, warehouse, options) == before


def test_large_samples_are_approximate_and_said_to_be(
    warehouse: Warehouse,
    scoring: Scoring,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    store(warehouse, scoring, [message(str(i), swap("a", i + 1, 0)) for i in range(10)])
    refresh_thresholds(RefreshOptions(LATE, 10), settings)
    assert "approximate" not in capsys.readouterr().out
    monkeypatch.setattr(job, "MAX_EXACT", 9)
    refresh_thresholds(RefreshOptions(LATE + 1, 10), settings)
    assert capsys.readouterr().out.rstrip().endswith("approximate")
    volumes = {
        row["as_of"]: row["p50"]
        for row in warehouse.rows(PROTOCOL_THRESHOLDS)
        if (row["protocol"], row["feature"]) == ("p", "volume")
    }
    assert volumes == {LATE: 5.5, LATE + 1: 5.0}


def test_versions_stay_and_the_newest_counts(
    warehouse: Warehouse,
    scoring: Scoring,
    settings: Settings,
    spark: SparkSession,
    capsys: pytest.CaptureFixture[str],
) -> None:
    store(warehouse, scoring, [message(str(i), swap("a", i, i)) for i in range(3)])
    conf = load_conf_reference(CONF)
    keep_copy(conf, warehouse)
    for as_of in (20, LATE, LATE):
        refresh_thresholds(RefreshOptions(as_of, 3), settings)
    keep_copy(conf, warehouse)
    keep_copy(current_reference(settings, warehouse), warehouse)
    rows = warehouse.rows(PROTOCOL_THRESHOLDS)
    assert len(rows) == len(conf.thresholds) + 2 * 6
    of_all = {r["as_of"] for r in rows if (r["protocol"], r["feature"]) == ("*", "volume")}
    assert of_all == {20, LATE, conf.thresholds[0].as_of}
    counting = {t.key: t for t in current_reference(settings, warehouse).thresholds}
    assert counting["*", "volume"].as_of == counting["p", "volume"].as_of == LATE
    assert {t for t in conf.thresholds if t.protocol != "*"} < set(counting.values())
    view = spark.table("latest_thresholds").collect()
    assert {(r.protocol, r.feature): r.as_of for r in view} == {
        key: threshold.as_of for key, threshold in counting.items()
    }
    out = capsys.readouterr().out
    assert out.count("of them do not count") == 1
    assert "2 of them do not count: the table holds newer ones" in out


def test_what_is_exported_to_a_file_is_reference_data(
    warehouse: Warehouse, scoring: Scoring, settings: Settings, tmp_path: Path
) -> None:
    store(warehouse, scoring, golden_records())
    path = tmp_path / "new" / "thresholds.jsonl"
    refresh_thresholds(RefreshOptions(LATE, export=str(path)), settings)
    lines = path.read_text().splitlines()
    assert [*json.loads(lines[0])] == [*Threshold.model_fields]
    conf = load_conf_reference(CONF)
    tokens = [("", token.model_dump()) for token in conf.tokens]
    read = parse_reference(tokens, [(line, json.loads(line)) for line in lines])
    stored = {Threshold(**row) for row in warehouse.rows(PROTOCOL_THRESHOLDS)}
    assert set(read.thresholds) == stored
    assert len(lines) == len(stored) > 5
    with pytest.raises(InputError, match=r"--export .*: cannot be written"):
        refresh_thresholds(RefreshOptions(LATE, export=str(path / "below")), settings)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with own_server() as server_url:
        yield server_url


@pytest.mark.mongo
@pytest.mark.skipif(not has_go(), reason=NO_GO)
def test_what_is_exported_to_mongodb_is_read_back(
    warehouse: Warehouse, scoring: Scoring, url: str
) -> None:
    store(warehouse, scoring, golden_records())
    settings = Settings(
        scorestream_warehouse=warehouse.root,
        mongodb_url=SecretStr(url),
        mongodb_database="exported",
    )
    conf = load_conf_reference(CONF)
    with MongoClient[dict[str, object]](url) as client:
        database = client["exported"]
        database["tokens"].insert_many([t.model_dump() for t in conf.tokens])
        other = {"protocol": "*", "feature": "volume", "p1": -1, "note": "ours"}
        database["protocol-thresholds-percentiles"].insert_one(other)
        for as_of in (LATE, LATE + 1):
            refresh_thresholds(RefreshOptions(as_of, export="mongodb"), settings)
        found = database["protocol-thresholds-percentiles"].find_one({"note": "ours"})
    assert found is not None
    assert found["as_of"] == LATE + 1
    read = fetch_reference(url, "exported", "tokens", "protocol-thresholds-percentiles")
    stored = {Threshold(**row) for row in warehouse.rows(PROTOCOL_THRESHOLDS)}
    assert set(read.thresholds) == {t for t in stored if t.as_of == LATE + 1}
    assert len(read.thresholds) * 2 == len(stored)
    assert current_reference(settings, warehouse) == read


def test_an_export_that_cannot_be_made_is_an_error(
    warehouse: Warehouse, scoring: Scoring, settings: Settings
) -> None:
    with pytest.raises(ConfigurationError, match="set MONGODB_URL"):
        refresh_thresholds(RefreshOptions(LATE, export="mongodb"), settings)
    store(warehouse, scoring, [message("a", swap("a", 1, 1))])
    away = settings.model_copy(update={"mongodb_url": SecretStr("mongodb://u:hunter2@127.0.0.1:1")})
    with pytest.raises(ReferenceDataUnavailable, match=r"127.0.0.1:1 cannot be written") as refused:
        refresh_thresholds(RefreshOptions(LATE, 1, "mongodb"), away)
    assert "hunter2" not in str(refused.value)


def test_nothing_to_compute_is_said(
    warehouse: Warehouse, scoring: Scoring, settings: Settings
) -> None:
    with pytest.raises(InputError, match=r"no deposit and no swap up to 2033-05-18T03:33:20Z"):
        refresh_thresholds(RefreshOptions(LATE), settings)
    store(warehouse, scoring, [message("a", swap("a", 1, 1)), message("b", swap("a", 1, 1))])
    with pytest.raises(InputError, match=r"up to 1970-01-01T00:00:09Z; .* later --as-of"):
        refresh_thresholds(RefreshOptions(9), settings)
    with pytest.raises(
        InputError, match=r"the largest sample .* has 2 wallets, --min-wallets is 3"
    ):
        refresh_thresholds(RefreshOptions(LATE, 3), settings)
    assert warehouse.is_empty(PROTOCOL_THRESHOLDS)
