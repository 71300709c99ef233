"""Coverage in its table: which input offsets a stream has delivered; a start goes on from there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from scorestream.infra.delivery.columns import RECORD_NUMBER
from scorestream.infra.delivery.coverage import (
    Coverage,
    Span,
    TableState,
    TableStates,
    attempts_of,
    newest_confirmed,
)
from scorestream.infra.delivery.stream import Stream
from scorestream.infra.delta.data_files import read_file
from scorestream.infra.delta.warehouse import FileBounds, Warehouse


class CoverageTable:
    """The records of a stream in its warehouse."""

    def __init__(self, warehouse: Warehouse, stream: Stream) -> None:
        self.warehouse = warehouse
        self.stream = stream

    def newest(self, generation: int | None = None) -> Coverage | None:
        """The newest record, of a generation or of the newest; whatever became of the tables."""
        return next(self._records(generation), None)

    def newest_confirmed(self, generation: int) -> Coverage | None:
        """What a start of a generation goes by; None: it has no record."""
        return newest_confirmed(self._records(generation), self.tables(generation))

    def tables(self, generation: int) -> TableStates:
        """How far the tables are."""
        application = attempts_of(self.stream.topic, generation)
        return {
            table.name: TableState(*self.warehouse.standing(table, application))
            for table in self.stream.tables
        }

    def write(self, record: Coverage) -> None:
        """Add a record.

        Raises:
            DeltaError: the commit failed.
            InUseError: another stream has taken over.
        """
        rows = _rows(record, self.stream.coverage.columns)
        self.warehouse.add_rows(self.stream.coverage, rows)

    def _records(self, generation: int | None) -> Iterator[Coverage]:
        """From the newest to the oldest; only as many files are read as are needed for those."""
        ours: list[tuple[str, str, Any]] = [("source_topic", "=", self.stream.topic)]
        if generation is not None:
            ours.append(("generation", "=", generation))
        columns = self.stream.coverage.columns
        files = self.warehouse.bounds(self.stream.coverage, [ours], RECORD_NUMBER)
        files.sort(key=_newest_number)
        rows = columns.empty_table()
        while files or rows.num_rows:
            number = _greatest_number(rows)
            # A record may be in several files that upkeep has written.
            if number is None or (files and _newest_number(files[-1]) >= number):
                more = read_file(files.pop().uri, columns, [ours])
                rows = pa.concat_tables([rows, more])
                continue
            of_record = pc.and_(
                *(pc.equal(rows[n], v) for n, v in zip(RECORD_NUMBER, number, strict=True))
            )
            yield self._record(rows.filter(of_record).to_pylist())
            rows = rows.filter(pc.invert(of_record))

    def _record(self, rows: Sequence[Mapping[str, Any]]) -> Coverage:
        first = rows[0]
        return Coverage(
            first["source_topic"],
            first["topic_id"],
            first["generation"],
            first["sequence"],
            {
                row["source_partition"]: Span(row["start_offset"], row["end_offset"])
                for row in rows
                if row["source_partition"] is not None
            },
            {
                table.name: TableState(
                    first[f"{table.name}_version"], first[f"{table.name}_attempt"]
                )
                for table in self.stream.tables
            },
            first["settled"],
            first["run_id"],
            first["batch_id"],
        )


def _newest_number(file: FileBounds) -> tuple[int, int]:
    generation, sequence = (file.highest[name] for name in RECORD_NUMBER)
    return generation, sequence


def _greatest_number(rows: pa.Table) -> tuple[int, int] | None:
    """The number of the newest record among rows of a topic; None: there is none."""
    if not rows.num_rows:
        return None
    generation = pc.max(rows["generation"])
    newest = rows.filter(pc.equal(rows["generation"], generation))
    return generation.as_py(), pc.max(newest["sequence"]).as_py()


def _rows(record: Coverage, columns: pa.Schema) -> pa.Table:
    shared = {
        "source_topic": record.topic,
        "topic_id": record.topic_id,
        "generation": record.generation,
        "sequence": record.sequence,
        "run_id": record.run_id,
        "batch_id": record.batch_id,
        "recorded_at": datetime.now(UTC),
        "settled": record.settled,
        **{f"{name}_version": state.version for name, state in record.tables.items()},
        **{f"{name}_attempt": state.attempt for name, state in record.tables.items()},
    }
    nothing: dict[str, int | None] = {
        "source_partition": None,
        "start_offset": None,
        "end_offset": None,
    }
    spans: list[dict[str, int | None]] = [
        {"source_partition": p, "start_offset": span.start, "end_offset": span.end}
        for p, span in sorted(record.spans.items())
    ]
    rows = [shared | each for each in spans or [nothing]]
    return pa.Table.from_pylist(rows, schema=columns)
