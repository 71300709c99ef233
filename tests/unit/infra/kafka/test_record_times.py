"""Timestamps of records, which anybody may have set: a moment, or a reject that everybody reads."""

from __future__ import annotations

import json
from datetime import datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scorestream.infra.kafka.producer import Record
from scorestream.infra.spark.process_isolation import Isolation
from scorestream.infra.times import MAX_SECONDS, MIN_SECONDS
from scorestream.wallets.core.scoring import Scoring
from scorestream.wallets.execution.decoded_batch import decode_records
from scorestream.wallets.execution.incremental import score_with_history
from scorestream.wallets.execution.result_messages import failure_records
from scorestream.wallets.execution.scoring_task import score_records
from scorestream.wallets.execution.table_rows import BatchFacts, table_rows
from scorestream.wallets.schema.tables import REJECTS, SCORES, TRANSACTIONS
from tools.testkit.golden import golden_records
from tools.testkit.message_schemas import validator
from tools.testkit.records import NO_MOMENTS, records_of

GOOD = golden_records()[0]
INT64 = st.integers(-(2**63), 2**63 - 1)


def rows_of(timestamps: list[int], scoring: Scoring) -> dict[str, list[dict[str, object]]]:
    records = records_of([GOOD._replace(timestamp=at) for at in timestamps])
    [(scored, _)] = score_records([records], (scoring,), include_transactions=True)
    rows = table_rows(scored, records, BatchFacts("run", 0, 1.0, code_version="1"))
    return {table.name: found.to_pylist() for table, found in rows.items()}


@pytest.mark.parametrize("timestamp", NO_MOMENTS)
def test_a_timestamp_that_is_no_moment_is_a_reject(timestamp: int, scoring: Scoring) -> None:
    rows = rows_of([timestamp], scoring)
    assert (rows[SCORES.name], rows[TRANSACTIONS.name]) == ([], [])
    [reject] = rows[REJECTS.name]
    assert reject["error_code"] == "invalid_timestamp"
    assert reject["error"] == (
        f"record timestamp: must be unix milliseconds from 1000 to 100000000000000, is {timestamp}"
    )
    assert reject["wallet_address"] is not None
    assert reject["value"] == GOOD.value


@pytest.mark.parametrize("timestamp", [1000, 1999, 10**14])
def test_the_first_and_the_last_moment_are_scored(timestamp: int, scoring: Scoring) -> None:
    [score] = rows_of([timestamp], scoring)[SCORES.name]
    assert score["as_of"] == timestamp // 1000


@settings(deadline=None)
@given(timestamps=st.lists(st.one_of(INT64, st.sampled_from(NO_MOMENTS)), min_size=1, max_size=9))
def test_every_row_has_times_that_a_calendar_has(timestamps: list[int], scoring: Scoring) -> None:
    rows = rows_of(timestamps, scoring)
    bad = [at for at, ms in enumerate(timestamps) if not 1000 <= ms <= 10**14]
    assert [row["source_offset"] for row in rows[REJECTS.name]] == bad
    for row in rows[SCORES.name] + rows[REJECTS.name]:
        assert isinstance(row["as_of"], int)
        assert MIN_SECONDS <= row["as_of"] <= MAX_SECONDS
        assert isinstance(row["source_timestamp"], datetime)
        assert row["source_timestamp"].tzinfo is not None


@given(timestamp=INT64)
def test_what_is_no_moment_is_none_in_the_tables_either(timestamp: int) -> None:
    records = records_of([Record(None, None, timestamp)])
    told = records_of([Record(None, None, int(records.storable_timestamps[0]))])
    assert records.has_moment.tolist() == told.has_moment.tolist()


def test_increments_are_refused_alike(scoring: Scoring) -> None:
    records = records_of([GOOD._replace(timestamp=at) for at in (*NO_MOMENTS, GOOD.timestamp)])
    batches = list(decode_records([records], (scoring,), isolation=Isolation.ON_RETRY))
    [done] = score_with_history(batches, [], (scoring,))
    assert done.scored.rejects["error_code"].to_pylist() == ["invalid_timestamp"] * len(NO_MOMENTS)
    assert done.scored.scores["position"].to_pylist() == [len(NO_MOMENTS)]


def test_a_neighbour_is_scored_as_ever(scoring: Scoring) -> None:
    [alone] = rows_of([GOOD.timestamp or 0], scoring)[SCORES.name]
    [beside] = rows_of([-1, GOOD.timestamp or 0, 2**63 - 1], scoring)[SCORES.name]
    for name in ("zscore", "as_of", "source_timestamp"):
        assert beside[name] == alone[name]


def test_what_is_published_of_it_keeps_to_its_schema(scoring: Scoring) -> None:
    records = records_of([GOOD._replace(timestamp=at) for at in NO_MOMENTS])
    [(scored, _)] = score_records([records], (scoring,), include_transactions=True)
    rows = table_rows(scored, records, BatchFacts("run", 0, 1.0, code_version="1"))
    values = [json.loads(record.value or b"") for record in failure_records(rows[REJECTS])]
    assert len(values) == len(NO_MOMENTS)
    schema = validator("wallet-scores-failure")
    assert [error for value in values for error in schema.iter_errors(value)] == []
