"""What the core gives, as rows of the tables."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from scorestream.infra.delta.table import Table
from scorestream.infra.kafka.records import Records
from scorestream.wallets.core.pipeline import Scored
from scorestream.wallets.core.score_columns import widen
from scorestream.wallets.predictors.apply import build_models_column
from scorestream.wallets.predictors.batch_models import BatchModel
from scorestream.wallets.schema.tables import PARTIAL_SCORES, REJECTS, SCORES, TRANSACTIONS


@dataclass(frozen=True)
class BatchFacts:
    """What all rows of a batch share.

    Attributes:
        started_at: unix seconds; rows have it as `scored_at`.
        models: registered models that are applied to the scores of the first scoring.
        generation: which pass over the topic it is; 0 where there is no other.
    """

    run_id: str
    batch_id: int
    started_at: float
    code_version: str
    models: tuple[BatchModel, ...] = ()
    generation: int = 0


def table_rows(scored: Scored, records: Records, facts: BatchFacts) -> dict[Table, pa.Table]:
    """Rows of `scores`, `rejects` and, if there are any, `transactions`.

    Args:
        scored: what the core made of the records.
        records: where they came from.
        facts: what all rows share.
    """
    source = source_columns(records)
    scores = scored.scores
    if "models" not in scores.column_names:
        scores = scores.append_column("models", build_models_column([], scores.num_rows))
    rows = {
        SCORES: _rows(SCORES, scores, source, facts),
        REJECTS: _rows(REJECTS, scored.rejects, source | _raw(scored.rejects, records), facts),
    }
    if scored.transactions is not None:
        rows[TRANSACTIONS] = _rows(TRANSACTIONS, scored.transactions, source, facts)
    return rows


def source_columns(records: Records) -> dict[str, pa.Array]:
    """Columns that say where each record came from, one row a record."""
    micros = pa.array(records.storable_timestamps * 1000)
    return {
        "source_partition": pa.array(records.partitions),
        "source_offset": pa.array(records.offsets),
        "source_timestamp": micros.cast(SCORES.columns.field("source_timestamp").type),
        "source_topic": records.topics.cast(pa.string()),
        "attempt": pa.array(records.attempts),
    }


def _raw(rejects: pa.Table, records: Records) -> dict[str, pa.Array]:
    """Key and value of the rejected records; None for the others, which nobody asks for."""
    keys: list[bytes | None] = [None] * len(records)
    values: list[bytes | None] = [None] * len(records)
    for position in rejects["position"].to_pylist():
        keys[position], values[position] = records.keys[position], records.values[position]
    return {"key": pa.array(keys, pa.binary()), "value": pa.array(values, pa.binary())}


def _rows(
    table: Table, results: pa.Table, source: dict[str, pa.Array], facts: BatchFacts
) -> pa.Table:
    positions = results["position"].combine_chunks()
    shared = _shared(facts)
    columns = []
    for field in table.columns:
        if field.name in results.column_names:
            column = results[field.name]
            # To combine chunks copies them, which only a struct that lacks fields needs.
            same = column.type == field.type
            columns.append(column if same else widen(column.combine_chunks(), field.type))
        elif field.name in source:
            columns.append(source[field.name].take(positions))
        else:
            columns.append(pa.repeat(pa.scalar(shared[field.name], field.type), len(results)))
    return pa.Table.from_arrays(columns, schema=table.columns)


def _shared(facts: BatchFacts) -> dict[str, Any]:
    started_at = datetime.fromtimestamp(facts.started_at, UTC)
    return {
        # Those that the scorer does not have.
        **{each.column: None for each in PARTIAL_SCORES},
        "run_id": facts.run_id,
        "batch_id": facts.batch_id,
        "generation": facts.generation,
        "scored_at": started_at,
        "rejected_at": started_at,
        "ingested_at": started_at,
        "scored_date": started_at.date(),
        "code_version": facts.code_version,
        # The clock of a task's machine may be behind the driver's, or be set back.
        "processing_time_ms": max(0, round((time.time() - facts.started_at) * 1000)),
    }
