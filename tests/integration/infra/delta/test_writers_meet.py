"""Writers of a table that meet, as from several machines: the table lets none undo another's work.

First in a fixed order: while the one has read the table and written its files, the other does all
of its work. Then in processes of their own that commit at the same moment.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable
from deltalake.schema import Field, PrimitiveType

from scorestream.infra.config.settings import Settings
from scorestream.infra.delta.optimize import OptimizeOptions
from scorestream.infra.delta.warehouse import Warehouse
from scorestream.infra.errors import ScorestreamError
from scorestream.wallets.core.wallet_keys import wallet_key
from scorestream.wallets.execution.scoring_task import commit_files, score_records, write_scored
from scorestream.wallets.execution.table_rows import BatchFacts
from scorestream.wallets.maintenance import compact_tables, forget
from scorestream.wallets.maintenance.erasure_filters import WalletFilter
from scorestream.wallets.schema.tables import PROTOCOL_THRESHOLDS, SCORES, TOKENS, TRANSACTIONS
from scorestream.wallets.schema.views import CATALOG
from tools.testkit.golden import configured_scoring, golden_records, golden_wallets
from tools.testkit.records import records_of

SPAWN = multiprocessing.get_context("spawn")
SECONDS = 120
BATCHES = 6
ROWS = 5
FORGOTTEN = wallet_key(golden_wallets()[0].wallet)
Work = Callable[[str], None]


def appending(root: str, first: int = BATCHES, batches: int = 1) -> None:
    """Commit batches, as a stream does."""
    warehouse, scoring = Warehouse(root, CATALOG), configured_scoring()
    for batch in range(first, first + batches):
        records = records_of(golden_records()[:ROWS], first_offset=ROWS * batch)
        facts = BatchFacts("run", batch, 1.7e9, code_version="1")
        report = write_scored(
            score_records([records], (scoring,), include_transactions=True),
            root,
            facts,
            include_transactions=True,
        )
        commit_files(warehouse, report.files, ("run", batch))


def compacting(root: str, cluster_percent: int | None = None) -> None:
    compact_tables.compact_tables(
        OptimizeOptions(cluster_percent=cluster_percent), Settings(scorestream_warehouse=root)
    )


def forgetting(root: str) -> None:
    options = forget.ForgetOptions(WalletFilter.of(FORGOTTEN), wait_seconds=0)
    forget.forget(options, Settings(scorestream_warehouse=root))


def optimizing(root: str) -> None:
    """What somebody does who knows nothing of this."""
    DeltaTable(f"{root}/scores").optimize.compact()
    DeltaTable(f"{root}/transactions").optimize.z_order(["wallet_key"])


def deleting(root: str) -> None:
    for name in ("scores", "transactions"):
        DeltaTable(f"{root}/{name}").delete(f"wallet_key = '{FORGOTTEN}'")


def altering(root: str) -> None:
    for name in ("scores", "transactions"):
        DeltaTable(f"{root}/{name}").alter.add_columns([Field("later", PrimitiveType("string"))])


def overwriting(root: str) -> None:
    rows = [{"address": "0x2", "symbol": "DAI", "decimals": 18, "stable": True}]
    Warehouse(root, CATALOG).write(
        TOKENS, pa.Table.from_pylist(rows, schema=TOKENS.columns), replace=True
    )


def thresholds(root: str) -> None:
    percentiles = {f.name: 1.0 for f in PROTOCOL_THRESHOLDS.columns if f.name[1:].isdecimal()}
    row = {"protocol": "curve", "feature": "f", "n": 30, "as_of": 1, **percentiles}
    rows = pa.Table.from_pylist([row], schema=PROTOCOL_THRESHOLDS.columns)
    Warehouse(root, CATALOG).upsert(PROTOCOL_THRESHOLDS, rows, ("protocol", "feature", "as_of"))


def creating(root: str) -> None:
    Warehouse(root, CATALOG).create_tables()


JOIN, CLUSTER = compacting, partial(compacting, cluster_percent=0)


@pytest.fixture
def root(tmp_path: Path) -> str:
    root = str(tmp_path / "warehouse")
    creating(root)
    appending(root, 0, BATCHES)
    return root


def assert_rows_once(root: str, batches: int, *, without: bool) -> None:
    scores, transactions = (
        Warehouse(root, CATALOG).rows(SCORES),
        Warehouse(root, CATALOG).rows(TRANSACTIONS),
    )
    wallets = ROWS - 1 if without else ROWS
    assert len({row["source_offset"] for row in scores}) == len(scores) == batches * wallets
    assert len(transactions) == sum(row["transaction_count"] for row in scores)
    present = {row["wallet_key"] for row in [*scores, *transactions]}
    assert (FORGOTTEN in present) != without


@pytest.mark.parametrize(
    "other", [appending, JOIN, CLUSTER, forgetting, optimizing, deleting, altering, creating]
)
@pytest.mark.parametrize("one", [JOIN, CLUSTER, forgetting])
def test_what_replaces_files_meets_others(
    one: Work, other: Work, root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = Warehouse.replace
    others = [other]

    def late(warehouse: Warehouse, *given: Any, **named: Any) -> None:
        if others:
            others.pop()(root)
        replace(warehouse, *given, **named)

    monkeypatch.setattr(Warehouse, "replace", late)
    for module in (compact_tables, forget):
        monkeypatch.setattr(module, "maintenance_lock", lambda _: nullcontext())
    one(root)
    assert not others
    batches = BATCHES + (other is appending)
    gone = forgetting in (one, other) or other is deleting
    if other is appending and gone:
        # What comes after the beginning is not looked at.
        forgetting(root)
    assert_rows_once(root, batches, without=gone)


def _at_once(work: Work, root: str, barrier: Any, results: Any) -> None:
    """In a process of its own: work, and commit at the same moment as others."""
    replace, first = Warehouse.replace, [True]

    def together(warehouse: Warehouse, *given: Any, **named: Any) -> None:
        if first and first.pop():
            barrier.wait(SECONDS)
        replace(warehouse, *given, **named)

    setattr(Warehouse, "replace", together)  # noqa: B010
    for module in (compact_tables, forget):
        # The lock of another machine is another one.
        setattr(module, "maintenance_lock", lambda _: nullcontext())  # noqa: B010
    try:
        if work in (creating, overwriting, thresholds):
            barrier.wait(SECONDS)
        work(root)
        results.put("done")
    except ScorestreamError as error:
        barrier.abort()
        results.put(f"{type(error).__name__}: {error}")


def all_at_once(works: list[tuple[Work, str]]) -> None:
    """Run works over a warehouse, each given by its own spelling, at the same moment."""
    barrier, results = SPAWN.Barrier(len(works)), SPAWN.Queue()
    processes = [
        SPAWN.Process(target=_at_once, args=(*work, barrier, results), daemon=True)
        for work in works
    ]
    for process in processes:
        process.start()
    assert [results.get(timeout=SECONDS) for _ in works] == ["done"] * len(works)
    for process in processes:
        process.join(SECONDS)


def test_upkeeps_of_several_machines_at_once(root: str) -> None:
    """Two that join, one that clusters, in other spellings of the path, and one that forgets."""
    all_at_once([(JOIN, root), (JOIN, f"file://{root}"), (CLUSTER, f"{root}/"), (forgetting, root)])
    assert_rows_once(root, BATCHES, without=True)


def test_jobs_that_start_at_once(tmp_path: Path) -> None:
    root = str(tmp_path / "warehouse")
    all_at_once([(creating, root), (creating, f"file://{root}"), (creating, root)])
    all_at_once([(overwriting, root), (overwriting, root), (thresholds, root), (thresholds, root)])
    assert (
        len(Warehouse(root, CATALOG).rows(TOKENS))
        == len(Warehouse(root, CATALOG).rows(PROTOCOL_THRESHOLDS))
        == 1
    )


def test_what_an_older_version_lacks_is_added_by_two_at_once(tmp_path: Path) -> None:
    root = str(tmp_path / "warehouse")
    old = [field for field in SCORES.columns if field.name not in SCORES.added_later]
    DeltaTable.create(f"{root}/{SCORES.name}", pa.schema(old))
    all_at_once([(creating, root), (creating, root)])
    assert pa.schema(DeltaTable(f"{root}/{SCORES.name}").schema()).names == SCORES.columns.names
