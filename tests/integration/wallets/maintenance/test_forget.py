"""Forgetting: a wallet, or what is old, out of the tables, their files and their logs."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake
from deltalake.exceptions import CommitFailedError
from deltalake.exceptions import DeltaError as DeltaRsError

from scorestream.infra.config.settings import PROJECT_ROOT, Settings
from scorestream.infra.delta.optimize import OptimizeOptions, maintenance_lock
from scorestream.infra.delta.table import Table
from scorestream.infra.delta.warehouse import Warehouse
from scorestream.infra.errors import DeltaError, InUseError
from scorestream.infra.kafka.producer import Record
from scorestream.wallets.core.scoring import Scoring
from scorestream.wallets.execution.scoring_task import commit_files, score_records, write_scored
from scorestream.wallets.execution.table_rows import BatchFacts
from scorestream.wallets.maintenance.compact_tables import compact_tables
from scorestream.wallets.maintenance.erasure_filters import AgeFilter, WalletFilter
from scorestream.wallets.maintenance.forget import ForgetOptions, forget
from scorestream.wallets.schema.tables import REJECTS, SCORES, TRANSACTIONS
from scorestream.wallets.schema.views import CATALOG
from tools.testkit.golden import broken_records, golden_records
from tools.testkit.records import records_of

TABLES = (SCORES, TRANSACTIONS, REJECTS)
ADDRESS = "0xAbCdEf0123456789aBcDeF0123456789AbCdEf01"
LOWER = ADDRESS.lower()
NOW = 1_700_000_000
DAY = 86_400


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    made = Warehouse(str(tmp_path / "warehouse"), CATALOG)
    made.create_tables()
    return made


@pytest.fixture
def settings(warehouse: Warehouse) -> Settings:
    return Settings(scorestream_warehouse=warehouse.root)


def message(address: str, action: str = "swap", when: int = NOW) -> Record:
    row = {"document_id": "1", "action": action, "timestamp": when, "poolId": "p"}
    entry = {"protocolType": "dexes", "transactions": [row]}
    text = json.dumps({"wallet_address": address, "data": [entry]})
    return Record(address.encode(), text.encode(), when * 1000)


def append(
    warehouse: Warehouse, scoring: Scoring, records: Sequence[Record], batch: int, at: float = NOW
) -> list[str]:
    """Score and commit; the URIs of the files."""
    report = scored(warehouse, scoring, records, batch, at)
    commit_files(warehouse, report.files, ("run", batch))
    return [warehouse.uri(file) for file in report.files]


def scored(
    warehouse: Warehouse, scoring: Scoring, records: Sequence[Record], batch: int, at: float = NOW
) -> Any:
    facts = BatchFacts("run", batch, at, code_version="1")
    batches = score_records(
        [records_of(records, 1000 * batch)], (scoring,), include_transactions=True
    )
    return write_scored(batches, warehouse.root, facts, include_transactions=True)


def spoilt(address: str) -> list[Record]:
    """Messages that are rejected: with the wallet known, and with its address in the bytes only."""
    bad_amount = json.loads(message(address).value or b"")
    bad_amount["data"][0]["transactions"][0]["timestamp"] = "soon"
    known = json.dumps(bad_amount).encode()
    unknown = f'{{"wallet_address": "{address}", '.encode()
    return [Record(None, known, NOW * 1000), Record(None, unknown, NOW * 1000)]


@pytest.fixture
def filled(warehouse: Warehouse, scoring: Scoring, settings: Settings) -> dict[Table, Counter[str]]:
    """Rows of the wallet among those of others, in files alive, compacted, and clustered.

    Returns the rows of the others.
    """
    others = [*golden_records()[:10], *broken_records()[:3], message("bob")]
    append(warehouse, scoring, [message(ADDRESS), *others], 0)
    append(warehouse, scoring, [*others, *spoilt(ADDRESS), message("0X" + LOWER[2:].upper())], 1)
    compact_tables(OptimizeOptions(cluster_percent=0), settings)
    append(warehouse, scoring, [*others, message(LOWER), *spoilt(LOWER.upper())], 2)
    # A wallet alone in a file: all its statistics are the address.
    append(warehouse, scoring, [message(ADDRESS)], 3)
    append(warehouse, scoring, others, 4)
    return {table: rest(warehouse, table) for table in TABLES}


def is_ours(row: dict[str, Any]) -> bool:
    raw = bytes(row.get("value") or b"")
    return (row["wallet_address"] or "").lower() == LOWER or LOWER.encode() in raw.lower()


def rest(warehouse: Warehouse, table: Table) -> Counter[str]:
    return Counter(str(row) for row in warehouse.rows(table) if not is_ours(row))


def traces(folder: str) -> Iterator[Path]:
    """All files below a folder that have the address, whether a table knows of them or not."""
    for path in Path(folder).rglob("*"):
        if path.is_file():
            text = path.read_bytes()
            if path.suffix == ".parquet":
                text += str(pq.read_table(path).to_pylist()).encode()
            if LOWER.encode() in text.lower():
                yield path


def wallet(address: str, **options: Any) -> ForgetOptions:
    return ForgetOptions(WalletFilter.of(address), purge=True, wait_seconds=0, **options)


def test_nothing_is_left_of_a_wallet_and_everything_of_the_others(
    warehouse: Warehouse, settings: Settings, filled: dict[Table, Counter[str]]
) -> None:
    assert len(list(traces(warehouse.root))) > 10
    opened = DeltaTable(warehouse.path(SCORES))
    forget(wallet("0x" + LOWER[2:].upper()), settings)
    assert list(traces(warehouse.root)) == []
    assert {table: rest(warehouse, table) for table in TABLES} == filled
    assert sum(filled[REJECTS].values()) == 12
    for table in TABLES:
        assert not any(is_ours(row) for row in warehouse.rows(table))
    # Who had the table open goes on with what it holds now; older versions are gone.
    opened.update_incremental()
    assert len(opened.to_pyarrow_table()) == len(warehouse.rows(SCORES))
    with pytest.raises(DeltaRsError):
        DeltaTable(warehouse.path(SCORES), version=1)


def test_without_a_purge_readers_and_older_versions_go_on_and_no_commit_is_written_anew(
    warehouse: Warehouse,
    settings: Settings,
    filled: dict[Table, Counter[str]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = {path: path.read_bytes() for path in Path(warehouse.root).rglob("*.json")}
    opened = DeltaTable(warehouse.path(SCORES))
    rows = len(warehouse.rows(SCORES))
    capsys.readouterr()
    forget(ForgetOptions(WalletFilter.of(ADDRESS)), settings)
    assert {table: rest(warehouse, table) for table in TABLES} == filled
    for table in TABLES:
        assert not any(is_ours(row) for row in warehouse.rows(table))
    assert len(opened.to_pyarrow_table()) == rows
    assert len(DeltaTable(warehouse.path(SCORES), version=opened.version()).to_pyarrow_table()) == (
        rows
    )
    assert all(path.read_bytes() == content for path, content in before.items())
    # What a reader begins with now does not name it.
    for table in TABLES:
        newest = max(Path(warehouse.path(table)).glob("_delta_log/*.checkpoint.parquet"))
        assert newest not in set(traces(warehouse.root))
    told = capsys.readouterr().out
    assert "scores: 5 data files, " in told
    assert "--purge does it now" in told
    # A later purge finds what this left.
    forget(wallet(ADDRESS), settings)
    assert list(traces(warehouse.root)) == []


@pytest.mark.parametrize("error", [CommitFailedError, OSError])
def test_a_commit_that_was_made_and_reported_as_refused_destroys_nothing(
    warehouse: Warehouse,
    settings: Settings,
    filled: dict[Table, Counter[str]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: type[Exception],
) -> None:
    commit = Warehouse.replace

    def made_but_refused(*arguments: Any) -> None:
        commit(*arguments)
        raise error("the answer was lost")

    monkeypatch.setattr(Warehouse, "replace", made_but_refused)
    capsys.readouterr()
    forget(wallet(ADDRESS), settings)
    counts = [line.split()[:2] for line in capsys.readouterr().out.splitlines()[:3]]
    assert counts == [["scores", "4"], ["transactions", "4"], ["rejects", "4"]]
    assert {table: rest(warehouse, table) for table in TABLES} == filled
    assert list(traces(warehouse.root)) == []


def test_new_files_of_a_refused_commit_are_left_to_a_later_clean_up(
    warehouse: Warehouse,
    settings: Settings,
    filled: dict[Table, Counter[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refused(*_: Any) -> None:
        raise OSError("no answer yet")

    files = set(Path(warehouse.root).rglob("*.parquet"))
    monkeypatch.setattr(Warehouse, "replace", refused)
    with pytest.raises(DeltaError, match="no answer yet"):
        forget(wallet(ADDRESS), settings)
    # It may be made yet, and name them then.
    assert len(set(Path(warehouse.root).rglob("*.parquet")) - files) == 2
    assert {table: rest(warehouse, table) for table in TABLES} == filled


def escaped(text: str) -> str:
    return "".join(f"\\u{ord(letter):04X}" for letter in text)


def test_rejects_go_in_whatever_form_their_bytes_hold_the_address(
    warehouse: Warehouse, settings: Settings, scoring: Scoring
) -> None:
    other = "0xAbCdEf0123456789aBcDeF0123456789AbCdEf02"
    forms: list[bytes] = [
        f'{{"wallet_address": "{form}", '.encode()
        for form in (ADDRESS, ADDRESS.upper(), escaped(ADDRESS), escaped(LOWER).lower())
    ]
    forms += [f'{{"wallet_address": "{ADDRESS}"'.encode(code) for code in ("utf-16", "utf-32-be")]
    forms += [json.dumps(f'{{"wallet_address": "{escaped(ADDRESS)}", ').encode()]
    forms += [b"\x0a\x14" + bytes.fromhex(ADDRESS[2:]) + b"\x00"]
    kept = [f'{{"wallet_address": "{form}", '.encode() for form in (other, escaped(other))]
    records = [Record(None, value, NOW * 1000) for value in [*forms, *kept]]
    keyed = Record(ADDRESS.encode(), b"broken", NOW * 1000)
    append(warehouse, scoring, [*records, keyed], 0)
    assert len(warehouse.rows(REJECTS)) == 11
    forget(wallet(ADDRESS), settings)
    assert [row["value"] for row in warehouse.rows(REJECTS)] == kept
    # A short name counts where JSON names a wallet, and as a key.
    short = [
        Record(None, b'{"wallet_address": "bob", ', NOW * 1000),
        Record(None, f'{{"wallet\\u005faddress":"{escaped("bob")}"'.encode(), NOW * 1000),
        Record(b"bob", b"broken", NOW * 1000),
        Record(None, b"bob and eve", NOW * 1000),
    ]
    append(warehouse, scoring, short, 1)
    forget(wallet("bob"), settings)
    left = sorted(row["value"] for row in warehouse.rows(REJECTS))
    assert left == sorted([*kept, b"bob and eve"])


def test_a_dry_run_counts_and_changes_nothing(
    warehouse: Warehouse,
    settings: Settings,
    filled: dict[Table, Counter[str]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = {path: path.read_bytes() for path in Path(warehouse.root).rglob("*") if path.is_file()}
    capsys.readouterr()
    forget(wallet(LOWER, dry_run=True), settings)
    counts = [line.split()[:2] for line in capsys.readouterr().out.splitlines()]
    assert counts[:3] == [["scores", "4"], ["transactions", "4"], ["rejects", "4"]]
    after = {path: path.read_bytes() for path in Path(warehouse.root).rglob("*") if path.is_file()}
    del after[Path(f"{warehouse.root}/_checkpoints/upkeep.lock")]
    before.pop(Path(f"{warehouse.root}/_checkpoints/upkeep.lock"), None)
    assert after == before


def test_a_stream_goes_on_while_a_wallet_is_forgotten(
    warehouse: Warehouse, settings: Settings, scoring: Scoring, filled: dict[Table, Counter[str]]
) -> None:
    def stream() -> None:
        for batch in range(10, 30):
            append(warehouse, scoring, golden_records()[:5], batch)

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(stream)
        while not writing.done():
            forget(wallet(ADDRESS), settings)
        writing.result()
    assert list(traces(warehouse.root)) == []
    offsets = [r["source_offset"] for r in warehouse.rows(SCORES) if r["batch_id"] >= 10]
    assert sorted(offsets) == [1000 * b + i for b in range(10, 30) for i in range(5)]
    for table in TABLES:
        old = [row for row in warehouse.rows(table) if row["batch_id"] < 10]
        assert Counter(map(str, old)) == filled[table]


def test_files_of_running_tasks_stay_and_are_told_of(
    warehouse: Warehouse, settings: Settings, scoring: Scoring
) -> None:
    append(warehouse, scoring, [message(ADDRESS), message("bob")], 0)
    running = scored(warehouse, scoring, [message(LOWER), message("eve")], 1)
    with pytest.raises(DeltaError, match="1 files hold some that no commit names"):
        forget(wallet(ADDRESS), settings)
    commit_files(warehouse, running.files, ("run", 1))
    wallets = [row["wallet_address"] for row in warehouse.rows(SCORES)]
    assert sorted(wallets) == sorted(["bob", "eve", LOWER])
    forget(wallet(ADDRESS), settings)
    assert list(traces(warehouse.root)) == []


def test_files_of_tasks_that_failed_long_ago_are_deleted(
    warehouse: Warehouse, settings: Settings, scoring: Scoring
) -> None:
    failed = scored(warehouse, scoring, [message(ADDRESS)], 1)
    for file in failed.files:
        torn = Path(warehouse.path(SCORES), "part-torn.parquet")
        torn.write_bytes(Path(warehouse.uri(file)).read_bytes()[:-20])
        long_ago = time.time() - 2 * DAY
        for path in (warehouse.uri(file), torn):
            os.utime(path, (long_ago, long_ago))
    forget(wallet(ADDRESS), settings)
    assert list(Path(warehouse.root).rglob("*.parquet")) == list(
        Path(warehouse.root).rglob("*.checkpoint.parquet")
    )


def test_a_wallet_that_is_no_address_is_meant_to_the_letter(
    warehouse: Warehouse, settings: Settings, scoring: Scoring
) -> None:
    names = ["bob", "Bob", "add", "bobby"]
    append(warehouse, scoring, [message(name) for name in names], 0)
    for name in ("bob", "add"):
        forget(wallet(name), settings)
    assert sorted(row["wallet_address"] for row in warehouse.rows(SCORES)) == ["Bob", "bobby"]


def test_old_rows_go_by_the_age_of_each_table(
    warehouse: Warehouse, settings: Settings, scoring: Scoring
) -> None:
    for age in (10, 3, 1):
        when = NOW - age * DAY
        records = [message(f"wallet{age}", when=when), Record(None, b"broken", when * 1000)]
        append(warehouse, scoring, records, 10 - age, at=when)
    files = set(Path(warehouse.root).rglob("*.parquet"))
    old = AgeFilter(NOW - 5 * DAY)
    forget(ForgetOptions(old, tables=("scores",)), settings)
    assert [len(warehouse.rows(table)) for table in TABLES] == [2, 3, 3]
    forget(ForgetOptions(old), settings)
    for table in TABLES:
        assert {row["batch_id"] for row in warehouse.rows(table)} == {7, 9}
    # Older versions stay until the files are deleted, too.
    assert set(Path(warehouse.root).rglob("*.parquet")) >= files
    assert DeltaTable(warehouse.path(SCORES), version=3).to_pyarrow_table().num_rows == 3
    forget(ForgetOptions(old, purge=True, wait_seconds=0), settings)
    assert len(files - set(Path(warehouse.root).rglob("*.parquet"))) == 3


def test_only_the_old_rows_of_a_file_go(
    warehouse: Warehouse, settings: Settings, scoring: Scoring
) -> None:
    append(warehouse, scoring, [message(f"wallet{n}", when=NOW - n * DAY) for n in range(10)], 0)
    forget(ForgetOptions(AgeFilter(NOW - 5 * DAY)), settings)
    for table in (SCORES, TRANSACTIONS):
        wallets = {row["wallet_address"] for row in warehouse.rows(table)}
        assert wallets == {f"wallet{n}" for n in range(6)}
    assert warehouse.files(TRANSACTIONS, [[("wallet_key", "=", "wallet9")]]) == []


def test_one_upkeep_at_a_time(warehouse: Warehouse, settings: Settings) -> None:
    with maintenance_lock(warehouse), pytest.raises(InUseError):
        forget(wallet(ADDRESS), settings)


def test_files_that_another_commit_took_are_not_replaced(
    warehouse: Warehouse, scoring: Scoring
) -> None:
    append(warehouse, scoring, [message(ADDRESS)], 0)
    [uri] = warehouse.files(SCORES)
    write_deltalake(warehouse.path(SCORES), SCORES.columns.empty_table(), mode="overwrite")
    with pytest.raises(Exception, match="are gone"):
        warehouse.replace(SCORES, [Path(uri).name], [], "test")


def run(warehouse: Warehouse, job: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["./spark-submit.sh", job, *arguments],
        cwd=PROJECT_ROOT,
        env=os.environ | {"SCORESTREAM_WAREHOUSE": warehouse.root},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_commands(warehouse: Warehouse, scoring: Scoring) -> None:
    append(warehouse, scoring, [message(ADDRESS), message("bob")], 0)
    done = run(warehouse, "forget", "--wallet", LOWER, "--dry-run")
    assert done.stdout.splitlines()[0].split()[:3] == ["scores", "1", "rows"], done.stderr
    done = run(warehouse, "forget", "--wallet", LOWER, "--purge", "--wait", "0")
    assert done.returncode == 0, done.stderr
    assert "- messages in Kafka (wallet-transactions, " in done.stdout
    assert list(traces(warehouse.root)) == []
    age = ("--older-than", "365d", "--as-of", "2023-11-15", "--tables", "scores,rejects", "--purge")
    assert run(warehouse, "forget", *age, "--wait", "0").returncode == 0
    assert len(warehouse.rows(SCORES)) == 1
    compacted = run(warehouse, "compact_tables", "--cluster-percent", "0", "--vacuum-hours", "24")
    assert "clustered" in compacted.stdout
    wrong = run(warehouse, "forget", "--older-than", "365d", "--tables", "score")
    assert wrong.returncode == 2
    assert "'score' is none of scores, transactions, rejects" in wrong.stdout + wrong.stderr
