"""Wallets scored over their history: from `transactions`, and from tables that are not ours."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest
from deltalake import write_deltalake

from scorestream.infra.config.settings import Settings
from scorestream.infra.delta.table import Table
from scorestream.infra.delta.warehouse import Warehouse
from scorestream.infra.errors import ConfigurationError, InputError
from scorestream.wallets.backfill import sorting
from scorestream.wallets.backfill.job import run_backfill
from scorestream.wallets.backfill.planning import BackfillOptions
from scorestream.wallets.core.score_columns import score_schema
from scorestream.wallets.execution import wallet_rows
from scorestream.wallets.execution.transaction_tables import REQUIRED
from scorestream.wallets.schema.tables import REJECTS, SCORES, TRANSACTIONS
from scorestream.wallets.scorers.dex_v1.scorer import DexV1
from tools.testkit.golden import golden_wallets

pytestmark = pytest.mark.spark

NOW = 1_800_000_000
DAY = 86_400
WHAT = ["wallet_address", "as_of", "transaction_count", *score_schema([DexV1.declaration]).names]


@pytest.fixture
def settings(warehouse: Warehouse) -> Settings:
    return Settings(scorestream_warehouse=warehouse.root)


def rows(warehouse: Warehouse, run_id: str, table: Table = SCORES) -> list[dict[str, Any]]:
    return [row for row in warehouse.rows(table) if row["run_id"] == run_id]


def scores(warehouse: Warehouse, run_id: str) -> list[str]:
    return sorted(str({name: row[name] for name in WHAT}) for row in rows(warehouse, run_id))


def without_repeats() -> list[dict[str, Any]]:
    """The golden messages, but for wallets that repeat a document or appear twice."""
    messages, seen = [], set()
    for golden in golden_wallets():
        ids = [t["document_id"] for t in dexes(golden.message)]
        key = golden.wallet.lower()
        if len(set(ids)) == len(ids) and key not in seen:
            messages.append(golden.message)
            seen.add(key)
    assert len(messages) > 30
    return messages


def dexes(message: dict[str, Any]) -> list[dict[str, Any]]:
    entries = [e for e in message["data"] if e["protocolType"] == "dexes"]
    return [t for entry in entries for t in entry["transactions"]]


@pytest.fixture
def stored(warehouse: Warehouse, settings: Settings, tmp_path: Path) -> list[dict[str, Any]]:
    """Messages scored whole at one moment, their transactions in the history."""
    messages = without_repeats()
    path = tmp_path / "messages.jsonl"
    path.write_text("\n".join(map(json.dumps, messages)), encoding="utf-8")
    run_backfill(BackfillOptions(str(path), (NOW,), run_id="messages"), settings)
    return messages


def flat(warehouse: Warehouse) -> pa.Table:
    """The history as a flat table with columns by our names."""
    table = pa.Table.from_pylist(warehouse.rows(TRANSACTIONS), TRANSACTIONS.columns)
    columns = {
        name: table[name]
        for name in ("wallet_address", "document_id", "action", "timestamp", "protocol")
    }
    columns |= {name: table[name] for name in ("pool_id", "pool_name", "caller", "chain_id")}
    for leg in ("token0", "token1", "token_in", "token_out"):
        for part in ("amount", "amount_usd", "address", "symbol"):
            columns[f"{leg}_{part}"] = pc.struct_field(table[leg], part)
    return pa.table(columns)


def test_the_score_as_of_a_moment_is_the_one_published_then(
    warehouse: Warehouse, settings: Settings, stored: list[dict[str, Any]]
) -> None:
    run_backfill(BackfillOptions("transactions", (NOW,), run_id="history"), settings)
    assert scores(warehouse, "history") == scores(warehouse, "messages")
    assert len(rows(warehouse, "history")) == len(stored)
    assert {row["source_topic"] for row in rows(warehouse, "history")} == {"wallets:transactions"}


@pytest.mark.parametrize("form", ["parquet", "delta", "csv", "csv.gz", "nested"])
def test_tables_of_transactions_give_the_scores_of_the_messages(
    form: str,
    warehouse: Warehouse,
    settings: Settings,
    stored: list[dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(wallet_rows, "BATCH_ROWS", 100)
    monkeypatch.setattr(sorting, "BUCKET_BYTES", 10_000)
    path = str(tmp_path / f"table.{form}")
    if form == "parquet":
        pq.write_table(flat(warehouse), path)
    elif form == "delta":
        write_deltalake(path, flat(warehouse))
    elif form == "nested":
        path = warehouse.path(TRANSACTIONS)
    else:
        compression = "gzip" if form == "csv.gz" else None
        with pa.output_stream(path, compression=compression) as file:
            pa_csv.write_csv(flat(warehouse), file)
    before = len(warehouse.rows(TRANSACTIONS))
    run_backfill(BackfillOptions(path, (NOW,), run_id="table"), settings)
    assert scores(warehouse, "table") == scores(warehouse, "messages")
    assert rows(warehouse, "table", REJECTS) == []
    imported = rows(warehouse, "table", TRANSACTIONS)
    assert len(imported) == before
    sources = {(r["source_partition"], r["source_offset"]) for r in rows(warehouse, "table")}
    assert len(sources) == len(stored)
    assert sources == {(r["source_partition"], r["source_offset"]) for r in imported}
    # What was taken into the history counts once in effect.
    run_backfill(BackfillOptions("transactions", (NOW,), run_id="again"), settings)
    assert scores(warehouse, "again") == scores(warehouse, "messages")


def test_a_range_of_moments_is_as_many_runs(
    warehouse: Warehouse, settings: Settings, stored: list[dict[str, Any]]
) -> None:
    times = [t["timestamp"] for message in stored for t in dexes(message)]
    middle = sorted(int(t) for t in times if int(t) < 10**11)[len(times) // 2]
    moments = (middle - DAY, middle, middle + DAY)
    run_backfill(BackfillOptions("transactions", moments, run_id="range"), settings)
    for moment in moments:
        run_backfill(BackfillOptions("transactions", (moment,), run_id=str(moment)), settings)
    alone = [score for moment in moments for score in scores(warehouse, str(moment))]
    assert scores(warehouse, "range") == sorted(alone)
    found = rows(warehouse, "range")
    assert len({(r["source_partition"], r["source_offset"]) for r in found}) == len(found)
    ages = {r["as_of"]: 0 for r in found}
    for row in found:
        ages[row["as_of"]] += row["transaction_count"]
    # The future is not seen: later moments know more.
    assert 0 < ages[moments[0]] < ages[moments[1]] <= ages[moments[2]] < len(times)


def table_of(**columns: list[Any]) -> pa.Table:
    good: dict[str, list[Any]] = {
        "wallet_address": ["0xAb", "0xaB", "bob", "eve"],
        "document_id": ["1", "2", "1", "1"],
        "action": ["swap", "swap", "deposit", "swap"],
        "timestamp": [100, 200, 100, 100],
        "token_in_amount_usd": [1.0, 2.0, None, 3.0],
        "token0_amount_usd": [None, None, 5.0, None],
    }
    return pa.table(good | columns)


@pytest.mark.parametrize(
    ("columns", "wallet", "told"),
    [
        ({"timestamp": ["100", "200", "soon", "100"]}, "bob", r"timestamp: .*soon"),
        ({"timestamp": [100, 200, None, 100]}, "bob", "timestamp: is missing"),
        ({"timestamp": [100.0, 200.0, 100.5, 100.0]}, "bob", r"timestamp: .*100\.5"),
        ({"chain_id": [1, 1, -1, 1]}, "bob", "chainId: .*-1"),
        ({"action": ["swap", "swap", None, "swap"]}, "bob", "action: is missing"),
        ({"token_in_amount_usd": [1.0, -2.0, None, 3.0]}, "0xaB", "tokenIn.amountUSD: .* -2"),
        ({"token_in_amount_usd": ["1", "x", None, "3"]}, "0xaB", "tokenIn.amountUSD: .*x"),
        ({"token_in_amount": ["1", "1.5", None, "3"]}, "0xaB", "tokenIn.amount: .*1.5"),
        ({"wallet_address": ["0xAb", "0xaB", None, "eve"]}, None, "wallet_address: is missing"),
    ],
)
def test_a_bad_row_rejects_its_wallet_and_no_other(
    columns: dict[str, list[Any]],
    wallet: str | None,
    told: str,
    warehouse: Warehouse,
    settings: Settings,
    tmp_path: Path,
) -> None:
    pq.write_table(table_of(**columns), tmp_path / "t.parquet")
    run_backfill(BackfillOptions(f"{tmp_path}/t.parquet", (NOW,), run_id="bad"), settings)
    [reject] = rows(warehouse, "bad", REJECTS)
    assert reject["wallet_address"] == wallet

    assert re.search(told, reject["error"]), reject["error"]
    assert json.loads(reject["value"].splitlines()[0])["data"][0]["transactions"]
    scored = {row["wallet_key"] for row in rows(warehouse, "bad")}
    refused = None if wallet is None else wallet.lower()
    assert scored == {"0xab", "bob", "eve"} - {refused or "bob"}
    assert {row["wallet_key"] for row in rows(warehouse, "bad", TRANSACTIONS)} == scored


def test_columns_may_have_other_names(
    warehouse: Warehouse, settings: Settings, tmp_path: Path
) -> None:
    table = pa.table(
        {
            "trader": ["a", "a"],
            "tx": [1, 2],
            "at": pa.array([1_600_000_000, 1_600_003_600], pa.timestamp("s", tz="UTC")),
            "sold": [{"usd": 10.0, "token": "USDC"}, {"usd": 20.0, "token": "WETH"}],
        }
    )
    pq.write_table(table, tmp_path / "t.parquet")
    mapping = tmp_path / "mapping.yaml"
    mapping.write_text(
        "columns: {wallet_address: trader, document_id: tx, timestamp: at,\n"
        "  token_in_amount_usd: sold.usd, token_in_symbol: sold.token}\n"
        "constants: {action: swap}\n"
    )
    options = BackfillOptions(f"{tmp_path}/t.parquet", (NOW,), columns=mapping, run_id="named")
    run_backfill(options, settings)
    [row] = rows(warehouse, "named")
    assert row["features"]["total_swap_volume"] == 30.0
    assert row["features"]["account_age_days"] == pytest.approx(1 / 24)
    assert row["features"]["token_diversity_score"] == 25.0


def test_csv_may_have_line_breaks_in_quotes(
    warehouse: Warehouse, settings: Settings, tmp_path: Path
) -> None:
    """What looks like a row of another wallet is the name of a pool."""
    names = [f'"pool {n}"\r\neve,9,swap,100,{n},' if n % 3 else f"\n,{n}" for n in range(200)]
    folder = tmp_path / "tables" / "protocol=v2"
    folder.mkdir(parents=True)
    for part, places in (("a", range(100)), ("b", range(100, 200))):
        lines = [["bob", str(n), "swap", str(100 + n), "1.5", names[n]] for n in places]
        header = [*REQUIRED, "token_in_amount_usd", "pool_name"]
        # Columns are found by their names, in every file.
        turn = -1 if part == "b" else 1
        with (folder / f"{part}.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(row[::turn] for row in [header, *lines])
    run_backfill(BackfillOptions(f"{tmp_path}/tables", (NOW,), run_id="breaks"), settings)
    [score] = rows(warehouse, "breaks")
    assert score["transaction_count"] == 200
    assert score["features"]["total_swap_volume"] == 300.0
    taken = rows(warehouse, "breaks", TRANSACTIONS)
    assert {row["document_id"]: row["pool_name"] for row in taken} == {
        str(number): name for number, name in enumerate(names)
    }
    assert {row["protocol"] for row in taken} == {"v2"}
    with (folder / "b.csv").open("a", encoding="utf-8") as file:
        file.write("eve,1\n")
    with pytest.raises(InputError, match=r"b\.csv, line \d+: has 2 values, and the header 6"):
        run_backfill(BackfillOptions(f"{tmp_path}/tables", (NOW,), run_id="torn"), settings)
    (folder / "b.csv").write_text("wallet_address\nbob\n")
    with pytest.raises(InputError, match=r"b\.csv: column .*'action'.* is not in all files"):
        run_backfill(BackfillOptions(f"{tmp_path}/tables", (NOW,), run_id="other"), settings)


def test_a_range_takes_the_rows_of_wallets_that_were_scored_once(
    warehouse: Warehouse, settings: Settings, tmp_path: Path
) -> None:
    table = table_of(
        timestamp=[100, 200, 100, 100], token_in_amount_usd=[1.7e308, 1.7e308, None, 3.0]
    )
    folder = tmp_path / "a table of mine"
    folder.mkdir()
    pq.write_table(table, folder / "part-0.parquet")
    run_backfill(BackfillOptions(str(folder), (150, 250), run_id="range"), settings)
    scored = [(row["wallet_key"], row["as_of"]) for row in rows(warehouse, "range")]
    assert sorted(scored) == [("0xab", 150), *((w, m) for w in ("bob", "eve") for m in (150, 250))]
    [reject] = rows(warehouse, "range", REJECTS)
    assert (reject["error_code"], reject["as_of"]) == ("non_finite_result", 250)
    assert len(rows(warehouse, "range", TRANSACTIONS)) == table.num_rows


def test_a_run_without_a_score_is_done(
    warehouse: Warehouse, settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pq.write_table(table_of(), tmp_path / "t.parquet")
    for _ in range(2):
        run_backfill(BackfillOptions(f"{tmp_path}/t.parquet", (50,), run_id="early"), settings)
    assert capsys.readouterr().out.count("0 scores, 0 rejects") == 2
    assert len(rows(warehouse, "early", TRANSACTIONS)) == 4


def test_what_cannot_be_is_told(settings: Settings, tmp_path: Path) -> None:
    pq.write_table(pa.table({"wallet_address": ["a"]}), tmp_path / "t.parquet")
    with pytest.raises(InputError, match="no column document_id, action, timestamp among"):
        run_backfill(BackfillOptions(f"{tmp_path}/t.parquet", (NOW,)), settings)
    with pytest.raises(ConfigurationError, match="--as-of record needs messages"):
        run_backfill(BackfillOptions(f"{tmp_path}/t.parquet"), settings)
    with pytest.raises(InputError, match=r"none\.parquet"):
        run_backfill(BackfillOptions(f"{tmp_path}/none.parquet", (NOW,)), settings)
    (tmp_path / "text.parquet").write_text("no table")
    with pytest.raises(InputError, match=r"text\.parquet cannot be read as parquet"):
        run_backfill(BackfillOptions(f"{tmp_path}/text.parquet", (NOW,)), settings)
    with pytest.raises(InputError, match=r"nowhere"):
        run_backfill(BackfillOptions(f"{tmp_path}/nowhere/*.parquet", (NOW,)), settings)
    pq.write_table(table_of().append_column("token_out", pa.array([1] * 4)), tmp_path / "n.parquet")
    with pytest.raises(InputError, match="a column is not as needed"):
        run_backfill(BackfillOptions(f"{tmp_path}/n.parquet", (NOW,)), settings)
    (tmp_path / "mixed").mkdir()
    (tmp_path / "mixed" / "a.csv").write_text("x")
    pq.write_table(table_of(), tmp_path / "mixed" / "b.parquet")
    with pytest.raises(ConfigurationError, match="csv and parquet: say --format"):
        run_backfill(BackfillOptions(f"{tmp_path}/mixed", (NOW,)), settings)
    mapping = tmp_path / "mapping.yaml"
    mapping.write_text("columns: {wallet: trader}")
    with pytest.raises(ConfigurationError, match=r"mapping\.yaml: wallet: not one of"):
        run_backfill(BackfillOptions(f"{tmp_path}/t.parquet", (NOW,), columns=mapping), settings)
