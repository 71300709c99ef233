"""What is published: messages made from table rows."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest

from scorestream.infra.kafka.producer import Record
from scorestream.wallets.core import schemas
from scorestream.wallets.core.pipeline import score_messages
from scorestream.wallets.core.scoring import Scoring
from scorestream.wallets.execution.result_messages import failure_records, success_records
from scorestream.wallets.execution.table_rows import BatchFacts, table_rows
from scorestream.wallets.schema.tables import REJECTS, SCORES, TRANSACTIONS
from tools.testkit.golden import (
    broken_records,
    differences,
    golden_records,
    golden_wallets,
)
from tools.testkit.message_schemas import validator
from tools.testkit.records import records_of

STARTED_AT = 1_767_323_045.25


def rows_of(records: list[Record], scoring: Scoring) -> dict[str, pa.Table]:
    batch = records_of(records)
    scored = score_messages(batch.values, batch.as_of, (scoring,))
    facts = BatchFacts("run", 7, STARTED_AT, code_version="1+test")
    return {table.name: rows for table, rows in table_rows(scored, batch, facts).items()}


def simple(wallet: str) -> Record:
    row = {"document_id": "1", "action": "borrow", "timestamp": 1, "poolId": "p"}
    entry = {"protocolType": "dexes", "transactions": [row]}
    return Record(b"k", json.dumps({"wallet_address": wallet, "data": [entry]}).encode(), 0)


def test_rows_have_the_columns_of_their_tables(scoring: Scoring) -> None:
    rows = rows_of(golden_records()[:2] + broken_records()[:2], scoring)
    for table in (SCORES, REJECTS, TRANSACTIONS):
        assert rows[table.name].schema == table.columns
    [score, *_] = rows["scores"].to_pylist()
    assert score["scored_at"].timestamp() == STARTED_AT
    assert score["scored_date"].isoformat() == "2026-01-02"
    assert (score["scoring"], score["run_id"], score["batch_id"]) == ("dex-v1", "run", 7)
    golden = golden_wallets()[score["source_offset"]]
    assert differences(score, golden.expected) == []
    assert score["source_timestamp"].timestamp() == golden.as_of
    assert {row["source_offset"] for row in rows["rejects"].to_pylist()} == {2, 3}


def test_rejects_keep_the_raw_bytes(scoring: Scoring) -> None:
    records = broken_records()
    rows = rows_of(golden_records()[:3] + records, scoring)["rejects"].to_pylist()
    kept = {row["source_offset"] - 3: (row["key"], row["value"]) for row in rows}
    assert kept == {i: (record.key, record.value) for i, record in enumerate(records)}


def test_messages_keep_to_their_schemas(scoring: Scoring) -> None:
    rows = rows_of([simple("0xABCDEF"), simple("a name"), *broken_records()], scoring)
    success = list(success_records(rows["scores"]))
    failure = list(failure_records(rows["rejects"]))
    assert len(failure) == len(broken_records())
    for records, name in ((success, "wallet-scores-success"), (failure, "wallet-scores-failure")):
        for record in records:
            value = record.value or b""
            assert list(validator(name).iter_errors(json.loads(value))) == []
            assert len(value) < 4000
    assert [record.key for record in success] == [b"0xabcdef", b"a name"]
    assert success[0].headers == (("source", b"in/0/0"), ("scoring", b"dex-v1"))
    first = json.loads(success[0].value or b"")
    assert first["wallet_address"] == "0xABCDEF"
    assert first["zscore"] == "162.000000000000000000"
    assert first["timestamp"] == int(STARTED_AT)


def test_a_score_of_zero_and_a_registered_model_are_published(scoring: Scoring) -> None:
    [row] = rows_of([simple("w")], scoring)["scores"].to_pylist()
    row |= {"zscore": 0, "final_score": 0.0, "models": [("churn", {"version": "3", "value": 0.5})]}
    [record] = success_records(pa.Table.from_pylist([row], schema=SCORES.columns))
    value = json.loads(record.value or b"")
    assert value["zscore"] == "0." + 18 * "0"
    assert value["models"] == {"churn": {"version": "3", "value": 0.5}}
    assert ("model-churn", b"3") in record.headers


@pytest.mark.parametrize("milliseconds", [-1, 0, 1_600_000_000_999])
def test_as_of_is_the_timestamp_floored(milliseconds: int, scoring: Scoring) -> None:
    wallet = simple("w")
    record = Record(wallet.key, wallet.value, milliseconds)
    [row] = rows_of([record], scoring)["scores"].to_pylist()
    assert row["as_of"] == np.floor(milliseconds / 1000)
    assert row["source_timestamp"].timestamp() == pytest.approx(milliseconds / 1000)
    assert SCORES.columns.field("source_timestamp").type == schemas.UTC_TIMESTAMP
