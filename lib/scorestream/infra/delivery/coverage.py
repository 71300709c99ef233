"""Which offsets of the input topic are delivered, and what follows from that.

A stream's table of coverage has one record a batch: for each partition the offsets, from where the
stream began up to before `end`, that are stored **and** published, whether they held a message or
not. It is written when a batch has reached all sinks, and so outlives every checkpoint. What lies
beyond is unproven: it may be stored in part, and may be published. No clock decides anything here.

A **generation** is one pass over the topic: `--reprocess` begins the next. Its rows say so in their
column `generation`, so that those of an earlier pass, at the same offsets, do not count as stored.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from scorestream.infra.delta.data_files import Condition
from scorestream.infra.errors import CheckpointError
from scorestream.infra.kafka.consumer import OffsetRange

_NO_BATCH: Final = -1


class Span(NamedTuple):
    """Offsets from `start` up to before `end`."""

    start: int
    end: int


Spans = Mapping[int, Span]


class TableState(NamedTuple):
    """How far a table is.

    Attributes:
        version: its newest.
        attempt: the sequence by which it took the newest batch of the pass; 0: none.
    """

    version: int
    attempt: int


TableStates = Mapping[str, TableState]


def attempts_of(topic: str, generation: int) -> str:
    """The application of the transactions by which a table takes each attempt only once."""
    return f"coverage/{topic}/{generation}"


@dataclass(frozen=True)
class Coverage:
    """What is delivered of a topic.

    Attributes:
        topic_id: the cluster's id of the topic.
        generation: which pass over the topic it is.
        sequence: the number of the record; of a generation the greatest counts.
        spans: by partition; one that no batch has had yet is missing.
        tables: how far they were when it was recorded, by name.
        settled: whether all that they held of the generation then is delivered.
        run_id: of the newest batch that is delivered; empty: none, or one is lost since.
        batch_id: its number; -1: none.
    """

    topic: str
    topic_id: str
    generation: int = 0
    sequence: int = 0
    spans: Spans = field(default_factory=dict)
    tables: TableStates = field(default_factory=dict)
    settled: bool = False
    run_id: str = ""
    batch_id: int = _NO_BATCH

    @property
    def starts(self) -> dict[int, int]:
        """For each known partition, the first offset that is not delivered."""
        return {partition: span.end for partition, span in self.spans.items()}

    def undelivered(self, planned: Sequence[OffsetRange]) -> list[OffsetRange]:
        """The parts of planned ranges that are not delivered."""
        return [part for each in planned for part in self._undelivered_parts(each)]

    def _undelivered_parts(self, planned: OffsetRange) -> Iterator[OffsetRange]:
        known = self.spans.get(planned.partition, Span(planned.start, planned.start))
        for start, end in (
            (planned.start, min(planned.end, known.start)),
            (max(planned.start, known.end), planned.end),
        ):
            if start < end:
                yield replace(planned, start=start, end=end)

    def with_partitions(self, planned: Sequence[OffsetRange]) -> Coverage:
        """With the partitions of planned ranges known, and where they begin.

        Recorded before anything of them is stored: else a start after a lost checkpoint would not
        know where the stream had begun.
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

    def back_at_start(self) -> Coverage:
        """With nothing delivered; only where the stream began is known."""
        spans = {p: Span(span.start, span.start) for p, span in self.spans.items()}
        return replace(self, spans=spans).without_batch()

    def without_batch(self) -> Coverage:
        """With no newest batch, to which a checkpoint could add, and nothing settled."""
        return replace(self, settled=False, run_id="", batch_id=_NO_BATCH)

    def next(self, tables: TableStates, *, settled: bool) -> Coverage:
        """As the record that follows, when tables are so far."""
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
        """The application of the transactions by which a table takes each attempt only once."""
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


def newest_confirmed(records: Iterable[Coverage], tables: TableStates) -> Coverage | None:
    """What a start goes by: the newest record that the tables confirm.

    That is not the newest of all where a table was brought back from an older copy, or lost a
    commit. Then a record counts that no table, now or at a later record, was behind.

    Args:
        records: of a generation, from the newest to the oldest; no more of them are taken than it
            needs.
        tables: how far they are now.
    """
    newest, least = None, tables
    for record in records:
        if newest is None:
            newest = record
        if not tables_behind(record.tables, least):
            # Those after it must never count again: the next one follows them all.
            found = record if record is newest else record.without_batch()
            return replace(found, sequence=newest.sequence)
        least = {name: min(least[name], record.tables[name], key=_attempt) for name in least}
    return newest and newest.back_at_start()


def tables_behind(before: TableStates, now: TableStates) -> list[str]:
    """Names of the tables that have lost what they had taken of the stream."""
    return [name for name, state in before.items() if now[name].attempt < state.attempt]


def _attempt(state: TableState) -> int:
    return state.attempt


def rows_of(generation: int, newest: int, run_id: str) -> Condition:
    """Condition on rows of a topic that a pass over it has stored.

    Rows of earlier versions have no generation: they are of the first, or of the run itself.

    Args:
        generation: of the pass.
        newest: the newest generation of the topic.
        run_id: the query's id; empty: it has not begun.
    """
    if generation:
        own = [[("run_id", "=", run_id)]] if run_id else []
        return [[("generation", "=", generation)], *own]
    return [[("generation", "not in", list(range(1, newest + 1)))]] if newest else []


class StoredBatches(NamedTuple):
    """What a run of an earlier version, without records, has stored of a partition.

    Attributes:
        proven: last offset of all its batches but the newest; None: it has no other.
        last: last offset.
    """

    partition: int
    proven: int | None
    last: int


def proven_starts(batches: Iterable[StoredBatches]) -> dict[int, int]:
    """For each partition, the first offset that may be missing; none where it may be its first."""
    starts: dict[int, int] = {}
    for each in batches:
        start = 0 if each.proven is None else each.proven + 1
        starts[each.partition] = min(start, starts.get(each.partition, start))
    return {partition: start for partition, start in starts.items() if start}
