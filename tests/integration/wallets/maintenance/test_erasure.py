"""A wallet put wherever the product can put one, and looked for everywhere after `forget`."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from scorestream.infra.config.settings import Settings
from scorestream.infra.delta.warehouse import Warehouse
from scorestream.infra.errors import DeltaError
from scorestream.infra.kafka.producer import Record
from scorestream.infra.mlflow.model_copies import COMPLETE, ModelCopies
from scorestream.infra.mlflow.store import ModelStore
from scorestream.infra.storage.filesystem import write_text
from scorestream.infra.storage.locks import exclusive_lock
from scorestream.tabular.inference.job import ApplyOptions, score_table
from scorestream.tabular.registry.loading import load
from scorestream.tabular.training.runs.run_log import read_profile
from scorestream.wallets.backfill.sorting import sort_by_wallet, stored_rows
from scorestream.wallets.core.scoring import Scoring
from scorestream.wallets.datasets.job import ExamplesOptions, make_examples
from scorestream.wallets.execution.scoring_task import commit_files, score_records, write_scored
from scorestream.wallets.execution.table_rows import BatchFacts
from scorestream.wallets.execution.wallet_rows import whole_wallets
from scorestream.wallets.maintenance.erasure_filters import WalletFilter
from scorestream.wallets.maintenance.forget import ForgetOptions, forget
from scorestream.wallets.schema.tables import TRANSACTIONS
from scorestream.wallets.schema.views import CATALOG
from tools.testkit.models import (
    read_table,
    registry_of,
    run_of,
    settings_of,
    train,
    write_csv,
)
from tools.testkit.records import records_of

ADDRESS = "0xAbCdEf0123456789aBcDeF0123456789AbCdEf01"
OTHER = "0x1111111111111111111111111111111111111111"
DIGITS = ADDRESS[2:].lower()
NOW = 1_700_000_000
USE_CASE = """
name: activity
description: Whether a wallet is active
task: classification
data: rows.csv
target: {column: active, labels: ["no", "yes"], positive: "yes"}
ids: [owner]
columns: {num_swaps: {kind: number, min: 0}, group: {kind: category}}
search: {metric: log_loss, trials: 1, folds: 3, repeats: 1, workers: 1}
candidates: {plain: {family: logistic, params: {C: 10.0}}}
"""


def message(address: str) -> Record:
    row = {"document_id": "1", "action": "swap", "timestamp": NOW, "poolId": "p"}
    entry = {"protocolType": "dexes", "transactions": [row]}
    text = json.dumps({"wallet_address": address, "data": [entry]})
    return Record(address.encode(), text.encode(), NOW * 1000)


def spoilt(address: str) -> Iterator[Record]:
    escaped = "".join(f"\\u{ord(letter):04X}" for letter in address)
    for text in (address, address.upper(), escaped):
        yield Record(None, f'{{"wallet_address": "{text}", '.encode(), NOW * 1000)
    yield Record(None, f'{{"wallet_address": "{address}"'.encode("utf-16"), NOW * 1000)


def score(warehouse: Warehouse, scoring: Scoring, records: list[Record], batch: int) -> None:
    facts = BatchFacts("run", batch, NOW, code_version="1")
    batches = score_records(
        [records_of(records, 1000 * batch)], (scoring,), include_transactions=True
    )
    report = write_scored(batches, warehouse.root, facts, include_transactions=True)
    commit_files(warehouse, report.files, ("run", batch))


def rows(group_of_ours: str) -> list[dict[str, object]]:
    """Training rows of many owners, the first two of them our wallet's, the last one bad."""
    owners = [ADDRESS, ADDRESS.lower(), *(f"0x{n:040x}" for n in range(198))]
    found: list[dict[str, object]] = [
        {
            "owner": owner,
            "num_swaps": 1000 + n if n % 2 else n,
            "group": group_of_ours if n < 2 else "abc"[n % 3],
            "active": "yes" if n % 2 else "no",
        }
        for n, owner in enumerate(owners)
    ]
    return [*found, {**found[5], "num_swaps": ADDRESS}]


def use_case(folder: Path, group_of_ours: str) -> tuple[Path, Path]:
    """Its file and its data."""
    data = write_csv(folder / "rows.csv", rows(group_of_ours))
    config = folder / "activity.yaml"
    config.write_text(USE_CASE, encoding="utf-8")
    return config, data


def traces(folder: str) -> set[str]:
    """Files below a folder that have the address in a form that can be read."""
    return {
        str(path.relative_to(folder))
        for path in Path(folder).rglob("*")
        if path.is_file() and any(DIGITS in text for text in readings(path))
    }


def readings(path: Path) -> Iterator[str]:
    raw = path.read_bytes()
    if path.suffix == ".parquet":
        raw += str(pq.read_table(path).to_pylist()).encode()
    raw = raw.replace(b"\\\\", b"\\")
    for code in ("latin-1", "utf-16-le", "utf-16-be"):
        for start in (0, 1):
            yield raw[start:].decode(code, errors="replace").lower()
    escape = re.compile(rb"\\u00([0-9a-fA-F]{2})")
    yield escape.sub(lambda m: bytes.fromhex(m[1].decode()), raw).decode("latin-1").lower()


def wallets_of(folder: Path) -> Counter[str]:
    found: Counter[str] = Counter()
    for path in sorted(folder.glob("*.parquet")):
        for batch in whole_wallets(str(path), 1):
            found.update(batch["wallet_key"].to_pylist())
    return found


def plant(settings: Settings, folder: Path, spark: SparkSession, scoring: Scoring) -> None:
    """Put the wallet wherever the product can."""
    warehouse = Warehouse(settings.warehouse, CATALOG)
    warehouse.create_tables()
    score(warehouse, scoring, [message(ADDRESS), message(OTHER), *spoilt(ADDRESS)], 0)
    score(warehouse, scoring, [message(ADDRESS.lower()), message("bob"), *spoilt(OTHER)], 1)
    make_examples(ExamplesOptions((NOW + 10,)), settings)
    config, data = use_case(folder, "a")
    train(settings, config, append=data)
    copies = ModelCopies(settings)
    version = copies.resolve("activity@champion")
    copies.fetch(version)
    # As an earlier version copied them.
    for name in ("input_example.json", "serving_input_example.json"):
        Path(version.uri, name).write_text(json.dumps({"owner": ADDRESS}), encoding="utf-8")
    sizes = json.loads(Path(version.uri, COMPLETE).read_text())
    sizes |= {"input_example.json": 55, "serving_input_example.json": 55}
    Path(version.uri, COMPLETE).write_text(json.dumps(sizes))
    for name in ("scored", "scored.csv"):
        output = f"{settings.warehouse}/{name}"
        score_table(ApplyOptions("activity@champion", str(data), output), settings)
    sorted_rows = f"{settings.warehouse}/_checkpoints/backfill_scores/cut.wallets"
    sort_by_wallet(stored_rows(spark, warehouse), sorted_rows, 2, warehouse.size(TRANSACTIONS))
    write_text(f"{settings.warehouse}/reports/comparison.md", f"| {ADDRESS} | 1 | 2 |")
    Path(settings.warehouse, "_demo").mkdir()
    generated = f"{settings.warehouse}/_demo/generated_wallets.parquet"
    pq.write_table(pa.table({"wallet_address": [ADDRESS]}), generated, compression="zstd")


def test_nothing_is_left_of_a_wallet_anywhere_but_where_the_command_says(
    tmp_path: Path, spark: SparkSession, scoring: Scoring, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = settings_of(tmp_path)
    plant(settings, tmp_path, spark, scoring)
    before = traces(settings.warehouse)
    kinds = {"scores", "rejects", "transactions", "training", "scored", "_demo", "_mlflow"}
    assert {path.split("/")[0] for path in before} >= {*kinds, "_models", "reports", "scored.csv"}
    assert any(path.endswith("bad_rows.csv") for path in before)
    store = ModelStore.of(settings)
    champion = registry_of(settings).champion("activity")
    assert champion is not None
    folder = Path(settings.warehouse, "_checkpoints/backfill_scores/cut.wallets")
    assert len(wallets_of(folder)) == 3
    assert list(Path(settings.warehouse).rglob("_mlflow/**/input_example.json"))
    capsys.readouterr()

    forget(ForgetOptions(WalletFilter.of(ADDRESS), dry_run=True), settings)
    planned = capsys.readouterr().out
    assert traces(settings.warehouse) == before
    with (
        exclusive_lock(str(folder.with_suffix(".json"))),
        pytest.raises(DeltaError, match="in use"),
    ):
        forget(ForgetOptions(WalletFilter.of(ADDRESS), purge=True, wait_seconds=0), settings)
    capsys.readouterr()
    forget(ForgetOptions(WalletFilter.of(ADDRESS), purge=True, wait_seconds=0), settings)
    told = capsys.readouterr().out

    assert traces(settings.warehouse) == {"scored.csv"}
    assert "- scored.csv: a file that is none of ours, or an --output: yours to delete" in told
    assert "- messages in Kafka" in told
    for text in ("scored                      3 rows", "training/activity", "comparison.md"):
        assert text in planned
    assert "activity/1 has learned from rows of it (training/activity version " in planned
    # What was not the wallet's is as it was, and all goes on.
    assert wallets_of(folder) == {OTHER: 1, "bob": 1}
    assert len(read_table(f"{settings.warehouse}/training/activity")) == 198
    assert len(read_table(f"{settings.warehouse}/scored")) == 198
    assert not list(Path(settings.warehouse).rglob("input_example.json"))
    assert load(store, champion).tabular.card.name == "activity"
    copies = ModelCopies(settings)
    version = copies.resolve("activity@champion")
    # The copy is whole: it is not fetched again.
    shutil.rmtree(settings.mlflow_folder)
    copies.fetch(version)


def test_a_category_that_is_an_address_goes_from_the_profile_and_the_model_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = settings_of(tmp_path)
    config, data = use_case(tmp_path, ADDRESS)
    train(settings, config, data=data)
    champion = registry_of(settings).champion("activity")
    assert champion is not None
    run = run_of(settings, champion)
    assert ADDRESS in str(read_profile(run).columns["group"])
    capsys.readouterr()
    forget(ForgetOptions(WalletFilter.of(ADDRESS)), settings)
    told = capsys.readouterr().out
    assert ADDRESS not in str(read_profile(run).columns["group"])
    left = traces(settings.warehouse)
    assert left
    for path in left:
        assert "/judged/" in path or "/models/" in path
        assert path in told
