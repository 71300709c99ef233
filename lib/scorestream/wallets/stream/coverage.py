"""Which offsets of the input topic are delivered, and what follows from that.

The table `coverage` has one record a batch: for each partition the offsets, from where the stream
began up to before `end`, that are stored **and** published, whether they held a message or not. It
is written when a batch has reached all sinks, and so outlives every checkpoint. What lies beyond is
unproven: it may be stored in part, and may be published. No clock decides anything here.

A **generation** is one pass over the topic: `--reprocess` begins the next. Its rows say so in their
column `generation`, so that those of an earlier pass, at the same offsets, do not count as stored.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from scorestream.infra.delta.data_files import Condition, read_file
from scorestream.infra.delta.warehouse import FileBounds, Warehouse
from scorestream.infra.errors import CheckpointError
from scorestream.infra.kafka.consumer import OffsetRange
from scorestream.wallets.schema.tables import BATCH_TABLES, COVERAGE

_NO_BATCH: Final = -1
_PLACE: Final = ("generation", "sequence")


class Span(NamedTuple):
    """Offsets from `start` up to before `end`."""

    start: int
    end: int


Spans = Mapping[int, Span]


class TableState(NamedTuple):
    """What a table has come to.

    Attributes:
        version: its newest.
        attempt: the sequence by which it took the newest batch of the pass; 0: none.
    """

    version: int
    attempt: int


Tables = Mapping[str, TableState]


def attempts_of(topic: str, generation: int) -> str:
    """The application of the transactions by which a table takes each attempt but once."""
    return f"coverage/{topic}/{generation}"


@dataclass(frozen=True)
class Coverage:
    """What is delivered of a topic.

    Attributes:
        topic_id: the cluster's id of the topic.
        generation: which pass over the topic it is.
        sequence: the number of the record; of a generation the greatest counts.
        spans: by partition; one that no batch has had yet is missing.
        tables: what they had come to when it was recorded, by name.
        settled: whether all that they held of the generation then is delivered.
        run_id: of the newest batch that is delivered; empty: none, or one is lost since.
        batch_id: its number; -1: none.
    """

    topic: str
    topic_id: str
    generation: int = 0
    sequence: int = 0
    spans: Spans = field(default_factory=dict)
    tables: Tables = field(default_factory=dict)
    settled: bool = False
    run_id: str = ""
    batch_id: int = _NO_BATCH

    @property
    def place(self) -> tuple[int, int]:
        """Its place among the records of the topic."""
        return self.generation, self.sequence

    @property
    def starts(self) -> dict[int, int]:
        """For each known partition, the first offset that is not delivered."""
        return {partition: span.end for partition, span in self.spans.items()}

    def lacking(self, planned: Sequence[OffsetRange]) -> list[OffsetRange]:
        """The parts of planned ranges that are not delivered."""
        return [part for each in planned for part in self._parts(each)]

    def _parts(self, planned: OffsetRange) -> Iterator[OffsetRange]:
        known = self.spans.get(planned.partition, Span(planned.start, planned.start))
        for start, end in (
            (planned.start, min(planned.end, known.start)),
            (max(planned.start, known.end), planned.end),
        ):
            if start < end:
                yield replace(planned, start=start, end=end)

    def begun(self, planned: Sequence[OffsetRange]) -> Coverage:
        """With the partitions of planned ranges known, where they begin.

        Noted before anything of them is stored: else a start after a lost checkpoint would not know
        where the stream had begun.
        """
        new = {r.partition: Span(r.start, r.start) for r in planned}
        return replace(self, spans={**new, **self.spans})

    def with_delivered(self, spans: Spans) -> Coverage:
        """With offsets that are delivered, too.

        Raises:
            CheckpointError: between them and those that were, some are not proven.
        """
        joined = {p: _joined(self.spans.get(p), span, self.topic, p) for p, span in spans.items()}
        return replace(self, spans={**self.spans, **joined})

    def unproven(self) -> Coverage:
        """With no more known than where the stream began."""
        spans = {p: Span(span.start, span.start) for p, span in self.spans.items()}
        return replace(self, spans=spans).forgetful()

    def forgetful(self) -> Coverage:
        """With no knowledge of the tables, or of what a checkpoint may add to it."""
        return replace(self, settled=False, run_id="", batch_id=_NO_BATCH)

    def next(self, tables: Tables, settled: bool) -> Coverage:
        """As the record that follows, when tables have come to so much."""
        # The table of the records may be the older copy: no attempt has a number twice.
        sequence = max(self.sequence, *(state.attempt for state in tables.values())) + 1
        return replace(self, sequence=sequence, tables=tables, settled=settled)

    def after(self, run_id: str, batch_id: int) -> Coverage:
        """With a batch as the newest that is delivered."""
        return replace(self, run_id=run_id, batch_id=batch_id)

    def next_generation(self, empty: Coverage) -> Coverage:
        """The next pass over the topic, of which the tables hold nothing yet."""
        return replace(empty, generation=self.generation + 1)

    @property
    def attempts(self) -> str:
        """The application of the transactions by which a table takes each attempt but once."""
        return attempts_of(self.topic, self.generation)


def _joined(known: Span | None, new: Span, topic: str, partition: int) -> Span:
    if known is None:
        return new
    if new.start > known.end or new.end < known.start:
        raise CheckpointError(
            f"{topic} partition {partition} is delivered up to offset {known.end}, and the "
            f"checkpoint goes on at {new.start}: nothing was skipped; use a new --checkpoint, "
            "which starts after what is delivered"
        )
    return Span(min(known.start, new.start), max(known.end, new.end))


def spans_of(ranges: Sequence[OffsetRange]) -> Spans:
    """Ranges of different partitions, by partition."""
    return {each.partition: Span(each.start, each.end) for each in ranges}


def believed(records: Iterable[Coverage], tables: Tables) -> Coverage | None:
    """What a start goes by: the newest record that the tables bear out.

    That is not the newest of all where a table was brought back from an older copy, or lost a
    commit. Then a record counts that no table, now or at a later record, was behind.

    Args:
        records: of a generation, from the newest to the oldest; no more of them are taken than it
            needs.
        tables: what they have come to now.
    """
    newest, least = None, tables
    for record in records:
        if newest is None:
            newest = record
        if not behind(record.tables, least):
            # Those after it must never be believed again: the next one follows them all.
            found = record if record is newest else record.forgetful()
            return replace(found, sequence=newest.sequence)
        least = {name: min(least[name], record.tables[name], key=_attempt) for name in least}
    return newest and newest.unproven()


def behind(before: Tables, now: Tables) -> list[str]:
    """Names of the tables that have lost what they had taken of the stream."""
    return [name for name, state in before.items() if now[name].attempt < state.attempt]


def _attempt(state: TableState) -> int:
    return state.attempt


def rows_of(generation: int, newest: int, run_id: str) -> Condition:
    """Condition on rows of a topic that a pass over it has stored.

    Rows of earlier versions have no generation: they are the first's, or of the run itself.
    """
    if generation:
        own = [[("run_id", "=", run_id)]] if run_id else []
        return [[("generation", "=", generation)], *own]
    return [[("generation", "not in", list(range(1, newest + 1)))]] if newest else []


class StoredBatches(NamedTuple):
    """What an earlier version's run has stored of a partition.

    Attributes:
        proven: last offset of all its batches but the newest; None: it has no other.
        last: last offset.
    """

    partition: int
    proven: int | None
    last: int


def proven_of_before(batches: Iterable[StoredBatches]) -> dict[int, int]:
    """For each partition, the first offset that may lack; none where that may be its first."""
    starts: dict[int, int] = {}
    for each in batches:
        start = 0 if each.proven is None else each.proven + 1
        starts[each.partition] = min(start, starts.get(each.partition, start))
    return {partition: start for partition, start in starts.items() if start}


class CoverageTable:
    """The records of a topic in the warehouse."""

    def __init__(self, warehouse: Warehouse, topic: str) -> None:
        self.root = warehouse.root
        self._warehouse = warehouse
        self._topic = topic

    def newest(self, generation: int | None = None) -> Coverage | None:
        """The newest record, of a generation or of the newest; whatever became of the tables."""
        return next(self._records(generation), None)

    def believed(self, generation: int) -> Coverage | None:
        """What a start of a generation goes by; None: it has no record."""
        return believed(self._records(generation), self.tables(generation))

    def tables(self, generation: int) -> Tables:
        """What the tables have come to."""
        application = attempts_of(self._topic, generation)
        return {
            table.name: TableState(*self._warehouse.standing(table, application))
            for table in BATCH_TABLES
        }

    def write(self, record: Coverage) -> None:
        """Add a record.

        Raises:
            DeltaError: the commit failed.
            InUseError: another stream has taken over.
        """
        self._warehouse.add_rows(COVERAGE, _rows(record))

    def _records(self, generation: int | None) -> Iterator[Coverage]:
        """From the newest to the oldest; only as many files are read as are needed for those."""
        of: list[tuple[str, str, Any]] = [("source_topic", "=", self._topic)]
        if generation is not None:
            of.append(("generation", "=", generation))
        files = self._warehouse.bounds(COVERAGE, [of], _PLACE)
        files.sort(key=_last_place)
        rows = COVERAGE.columns.empty_table()
        while files or rows.num_rows:
            place = _greatest(rows)
            # What upkeep has joined may stand in more files than one.
            if place is None or (files and _last_place(files[-1]) >= place):
                more = read_file(files.pop().uri, COVERAGE.columns, [of])
                rows = pa.concat_tables([rows, more])
                continue
            of_it = pc.and_(*(pc.equal(rows[n], v) for n, v in zip(_PLACE, place, strict=True)))
            yield _record(rows.filter(of_it).to_pylist())
            rows = rows.filter(pc.invert(of_it))


def _last_place(file: FileBounds) -> tuple[int, int]:
    generation, sequence = (file.highest[name] for name in _PLACE)
    return generation, sequence


def _greatest(rows: pa.Table) -> tuple[int, int] | None:
    """The place of the newest record among rows of a topic; None: there is none."""
    if not rows.num_rows:
        return None
    generation = pc.max(rows["generation"])
    of_it = rows.filter(pc.equal(rows["generation"], generation))
    return generation.as_py(), pc.max(of_it["sequence"]).as_py()


def _record(rows: Sequence[Mapping[str, Any]]) -> Coverage:
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
            table.name: TableState(first[f"{table.name}_version"], first[f"{table.name}_attempt"])
            for table in BATCH_TABLES
        },
        first["settled"],
        first["run_id"],
        first["batch_id"],
    )


def _rows(record: Coverage) -> pa.Table:
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
    return pa.Table.from_pylist(rows, schema=COVERAGE.columns)
