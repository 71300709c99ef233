"""What is recorded as delivered, and what starts make of it, over simulated histories of crashes.

The world below is a model: topic, tables, checkpoints and Kafka are sets. What is decided in it is
decided by the code of the stream.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from deltalake import DeltaTable
from hypothesis import given, settings
from hypothesis import strategies as st

from scorestream.infra.delivery.coverage import (
    Coverage,
    Span,
    StoredBatches,
    TableState,
    newest_confirmed,
    proven_starts,
    rows_of,
    spans_of,
    tables_behind,
)
from scorestream.infra.delivery.coverage_cleanup import drop_superseded
from scorestream.infra.delivery.coverage_table import CoverageTable
from scorestream.infra.delivery.stream import Stream as Declaration
from scorestream.infra.delivery.unpublished_rows import UnpublishedRows
from scorestream.infra.delta.table import Table
from scorestream.infra.delta.warehouse import Warehouse
from scorestream.infra.errors import CheckpointError
from scorestream.infra.kafka.consumer import OffsetRange
from scorestream.wallets.schema.tables import BATCH_TABLES, COVERAGE, SCORES, TRANSACTIONS
from scorestream.wallets.schema.views import CATALOG

TOPIC = "in"
TABLES = (TRANSACTIONS, SCORES)
Row = tuple[int, int]  # partition and offset


def ranges(*given: tuple[int, int, int]) -> list[OffsetRange]:
    return [OffsetRange(TOPIC, *each) for each in given]


def coverage_table(warehouse: Warehouse, topic: str = TOPIC) -> CoverageTable:
    return CoverageTable(warehouse, Declaration("test", topic, BATCH_TABLES, COVERAGE))


def test_what_is_delivered_is_left_out_of_a_plan() -> None:
    coverage = Coverage(TOPIC, "id", spans={0: Span(5, 9), 1: Span(0, 3)})
    assert coverage.undelivered(ranges((0, 0, 12), (1, 1, 3), (2, 4, 6))) == ranges(
        (0, 0, 5), (0, 9, 12), (2, 4, 6)
    )
    assert coverage.starts == {0: 9, 1: 3}


def test_a_gap_is_refused() -> None:
    coverage = Coverage(TOPIC, "id", spans={0: Span(5, 9)})
    assert coverage.with_delivered({0: Span(9, 12)}).spans == {0: Span(5, 12)}
    with pytest.raises(CheckpointError, match=r"delivered up to offset 9, .* goes on at 10"):
        coverage.with_delivered({0: Span(10, 12)})


def test_records_are_found_however_upkeep_has_joined_them(tmp_path: Path) -> None:
    warehouse = Warehouse(str(tmp_path), CATALOG)
    warehouse.create_tables()
    table, other = coverage_table(warehouse), coverage_table(warehouse, "other")
    assert table.newest() is None
    record = Coverage(TOPIC, "id")
    for number in range(5):
        record = record.with_delivered({p: Span(0, number + p) for p in range(3)})
        record = record.after("r", number).next(table.tables(0), settled=True)
        table.write(record)
        other.write(replace(record, topic="other", topic_id="x"))
    assert table.newest() == table.newest_confirmed(0) == record
    warehouse.mark(SCORES, (record.attempts, record.sequence))
    tables = table.tables(0)
    assert tables_behind(record.tables, tables) == []
    lost = record.next({**tables, "scores": TableState(9, record.sequence + 1)}, settled=True)
    table.write(lost)
    assert table.newest() == lost
    assert tables_behind(lost.tables, tables) == ["scores"]
    # What a table does not have any more was never delivered, and the next record follows it.
    fallen_back = replace(record.without_batch(), sequence=lost.sequence)
    assert table.newest_confirmed(0) == fallen_back
    later = record.next_generation(Coverage(TOPIC, "another", tables=tables))
    table.write(later)
    assert table.newest() == later
    assert table.newest_confirmed(0) == fallen_back
    assert len(warehouse.files(COVERAGE)) == 12
    DeltaTable(warehouse.path(COVERAGE)).optimize.compact()
    assert len(warehouse.files(COVERAGE)) == 1
    assert (table.newest(), table.newest_confirmed(0)) == (later, fallen_back)


def test_upkeep_leaves_the_newest_records_of_each_pass(tmp_path: Path) -> None:
    warehouse = Warehouse(str(tmp_path), CATALOG)
    warehouse.create_tables()
    drop_superseded(warehouse, COVERAGE)
    table = coverage_table(warehouse)
    empty = Coverage(TOPIC, "id", tables=table.tables(0))
    records = []
    for record in (empty, empty.next_generation(empty)):
        for number in range(6):
            spans = {0: Span(0, number), 1: Span(2, 2 + number)}
            records.append(replace(record, spans=spans, sequence=number))
            table.write(records[-1])
    drop_superseded(warehouse, COVERAGE, count=3)
    assert len(warehouse.files(COVERAGE)) == 1
    left = warehouse.rows(COVERAGE)
    assert Counter(row["generation"] for row in left) == {0: 6, 1: 6}
    assert {row["sequence"] for row in left} == {3, 4, 5}
    assert (table.newest_confirmed(0), table.newest_confirmed(1)) == (records[5], records[11])
    version = warehouse.version(COVERAGE)
    drop_superseded(warehouse, COVERAGE, count=3)
    assert warehouse.version(COVERAGE) == version


def test_of_a_table_that_grew_again_no_record_of_before_counts() -> None:
    def tables(attempt: int) -> dict[str, TableState]:
        return {"scores": TableState(99, attempt)}

    def record(sequence: int, attempt: int) -> Coverage:
        spans = {0: Span(3, 3 + sequence)}
        coverage = Coverage(TOPIC, "id", 1, sequence, spans, tables(attempt), settled=True)
        return coverage.after("r", sequence)

    records = [record(9, 8), record(7, 2), record(6, 5), record(5, 1)]
    assert newest_confirmed(records, tables(8)) == records[0]
    # It was brought back before record 7, and now once more.
    assert newest_confirmed(records, tables(1)) == replace(records[3].without_batch(), sequence=9)
    assert newest_confirmed([records[0], *records[2:]], tables(7)) == replace(
        records[2].without_batch(), sequence=9
    )
    assert newest_confirmed([records[0], *records[2:]], tables(0)) == records[0].back_at_start()
    assert records[0].back_at_start().starts == {0: 3}
    # Whoever comes with a checkpoint of before has nothing to add.
    assert records[0].back_at_start().run_id == ""
    assert newest_confirmed([], tables(1)) is None


@pytest.mark.parametrize(
    ("batches", "starts"),
    [
        ([StoredBatches(0, 9, 12)], {0: 10}),
        # Two runs were cut off: what the first may lack, the second may have skipped.
        ([StoredBatches(0, 9, 12), StoredBatches(0, 20, 25)], {0: 10}),
        ([StoredBatches(0, 9, 12), StoredBatches(0, None, 25), StoredBatches(1, 4, 4)], {1: 5}),
        ([], {}),
    ],
)
def test_of_each_run_of_before_the_newest_batch_is_not_proven(
    batches: list[StoredBatches], starts: dict[int, int]
) -> None:
    assert proven_starts(batches) == starts


class FencedError(Exception):
    """A commit of who was followed by another."""


@dataclass
class File:
    """Rows of a commit; none of one by which a start fences others off."""

    generation: int = 0
    rows: frozenset[Row] = frozenset()
    attempt: int = 0


@dataclass
class Checkpoint:
    """What Spark keeps: planned batches, the first of them done, and where the first began."""

    run_id: str
    generation: int
    plans: list[list[OffsetRange]] = field(default_factory=list)
    done: int = 0


@dataclass
class World:
    """A topic that grows, two tables that take commits, Kafka, and the coverage."""

    ends: dict[int, int] = field(default_factory=lambda: {0: 0, 1: 0})
    tables: dict[Table, list[File]] = field(default_factory=lambda: {t: [] for t in TABLES})
    published: Counter[tuple[int, Row]] = field(default_factory=Counter)
    records: list[Coverage] = field(default_factory=list)
    checkpoints: list[Checkpoint] = field(default_factory=list)
    epoch: int = 0

    def states(self, generation: int) -> dict[str, TableState]:
        """As `CoverageTable.tables`."""
        return {
            table.name: TableState(
                len(files), max((f.attempt for f in files if f.generation == generation), default=0)
            )
            for table, files in self.tables.items()
        }

    def rows(self, table: Table, generation: int) -> set[Row]:
        files = self.tables[table]
        return {row for file in files if file.generation == generation for row in file.rows}

    def found(self, generation: int) -> Coverage | None:
        """As `CoverageTable.newest_confirmed`."""
        of = [record for record in self.records if record.generation == generation]
        of.sort(key=lambda record: record.sequence, reverse=True)
        return newest_confirmed(of, self.states(generation))

    def is_message(self, row: Row) -> bool:
        """Some offsets hold markers of transactions, or what was compacted away."""
        return (row[0] * 7 + row[1]) % 5 != 0


class Stream:
    """A start of the stream; `run` gives way wherever it may be killed, or stopped for a while."""

    def __init__(self, world: World, checkpoint: Checkpoint | None, *, reprocess: bool) -> None:
        self.world = world
        world.epoch += 1
        self.epoch = world.epoch
        newest = max((r.generation for r in world.records), default=None)
        for files in world.tables.values():
            files.append(File())
        empty = Coverage(TOPIC, "id", tables=world.states(0), settled=True)
        if checkpoint is not None:
            coverage = self._resumed(checkpoint)
        elif newest is None:
            coverage = empty
        elif reprocess:
            coverage = Coverage(TOPIC, "id", newest).next_generation(empty)
        else:
            found = world.found(newest)
            assert found is not None
            coverage = found
        if checkpoint is None:
            checkpoint = Checkpoint(str(self.epoch), coverage.generation)
            world.checkpoints.append(checkpoint)
        self.checkpoint = checkpoint
        self.unpublished = self._unpublished(coverage)
        settled = self.unpublished.are_delivered(coverage)
        self.coverage = coverage.next(world.states(coverage.generation), settled=settled)
        world.records.append(self.coverage)

    def _resumed(self, checkpoint: Checkpoint) -> Coverage:
        found = newest_of(self.world, checkpoint.generation)
        if found.run_id == checkpoint.run_id:
            for plan in checkpoint.plans[: checkpoint.done]:
                found = found.with_delivered(spans_of(plan))
        return found

    def _unpublished(self, coverage: Coverage) -> UnpublishedRows:
        """As `UnpublishedRows.find`, of which the uris are numbers of commits."""
        files = {}
        for table, commits in self.world.tables.items():
            after = coverage.tables[table.name].version if coverage.settled else 0
            files[table] = {
                str(number): spans
                for number, file in enumerate(commits)
                if number >= after and file.generation == coverage.generation
                if (spans := beyond(file.rows, coverage.starts))
            }
        return UnpublishedRows(rows_of(coverage.generation, 9, ""), files)

    def run(self, sizes: list[int]) -> Iterator[None]:
        for size in sizes:
            yield
            checkpoint = self.checkpoint
            if checkpoint.done == len(checkpoint.plans):
                checkpoint.plans.append(self._plan(size))
                yield
            yield from self._deliver(checkpoint.plans[checkpoint.done])
            checkpoint.done += 1

    def _plan(self, size: int) -> list[OffsetRange]:
        starts = self.coverage.starts
        for plan in self.checkpoint.plans:
            starts |= {each.partition: each.end for each in plan}
        plan = [
            OffsetRange(TOPIC, p, starts.get(p, 0), min(end, starts.get(p, 0) + size))
            for p, end in self.world.ends.items()
        ]
        return [each for each in plan if len(each) > 0]

    def _deliver(self, plan: list[OffsetRange]) -> Iterator[None]:
        """As `Delivery.deliver`."""
        begun = self.coverage.with_partitions(plan)
        if begun != self.coverage:
            self._write(begun)
            yield
        self.coverage.with_delivered(spans_of(plan))
        lacking = self.coverage.undelivered(plan)
        stored = self.unpublished.within(lacking)
        held: dict[Table, set[Row]] = {table: set() for table in TABLES}
        if stored is not None:
            for table in TABLES:
                for uri in stored.files[table]:
                    held[table] |= self.world.tables[table][int(uri)].rows
        wanted = {row for row in rows_in(lacking) if self.world.is_message(row)}
        written = {table: wanted - held[table] for table in TABLES}
        for table in TABLES:
            self._commit(table, written[table])
            yield
        for row in sorted((wanted & held[SCORES]) | written[SCORES]):
            self.world.published[self.coverage.generation, row] += 1
            yield
        delivered = self.coverage.with_delivered(spans_of(plan))
        if delivered != self.coverage:
            number = self.checkpoint.plans.index(plan)
            self._write(delivered.after(self.checkpoint.run_id, number))
            yield

    def _commit(self, table: Table, rows: set[Row]) -> None:
        self._refuse_late()
        generation, attempt = self.coverage.generation, self.coverage.sequence
        if rows and self.world.states(generation)[table.name].attempt < attempt:
            self.world.tables[table].append(File(generation, frozenset(rows), attempt))

    def _write(self, coverage: Coverage) -> None:
        self._refuse_late()
        states = self.world.states(coverage.generation)
        settled = self.unpublished.are_delivered(coverage)
        self.coverage = coverage.next(states, settled=settled)
        self.world.records.append(self.coverage)

    def _refuse_late(self) -> None:
        """As `Warehouse.fence` has the tables do."""
        if self.epoch < self.world.epoch:
            raise FencedError


def beyond(rows: frozenset[Row], starts: dict[int, int]) -> dict[int, Span]:
    spans: dict[int, Span] = {}
    for p, offset in rows:
        if offset >= starts.get(p, 0):
            old = spans.get(p, Span(offset, offset + 1))
            spans[p] = Span(min(old.start, offset), max(old.end, offset + 1))
    return spans


def rows_in(planned: list[OffsetRange]) -> list[Row]:
    return [(r.partition, offset) for r in planned for offset in range(r.start, r.end)]


@dataclass(frozen=True)
class Act:
    """What happens next.

    Attributes:
        grows: by how many offsets each partition of the topic grows before.
        checkpoint: which of those that there were the start has; None: a new one.
        reprocess: whether a new one begins the next pass.
        sizes: of the batches that Spark plans.
        steps: after so many the process is killed, or only stopped.
        stopped: whether it wakes up during the next start.
        copies: by how many commits a table is brought back before, of which a new checkpoint
            makes up.
    """

    grows: tuple[int, int]
    checkpoint: int | None
    reprocess: bool
    sizes: tuple[int, ...]
    steps: int
    stopped: bool
    copies: tuple[int, int]


acts = st.builds(
    Act,
    st.tuples(st.integers(0, 4), st.integers(0, 4)),
    st.none() | st.integers(0, 3),
    st.integers(0, 9).map(lambda n: n == 0),
    st.lists(st.integers(1, 5), min_size=1, max_size=3).map(tuple),
    st.integers(0, 30),
    st.booleans(),
    st.tuples(*[st.sampled_from([0] * 9 + [1, 2])] * 2),
)


def last_act(world: World) -> None:
    """A start with a new checkpoint, as long as there is anything to do."""
    for _ in Stream(world, None, reprocess=False).run([3] * (max(world.ends.values()) + 1)):
        pass


@given(history=st.lists(acts, min_size=1, max_size=8))
@settings(max_examples=100, deadline=None)
def test_nothing_is_lost_or_doubled_whatever_crashes(history: list[Act]) -> None:
    world = World()
    asleep: Iterator[None] = iter(())
    for act in history:
        world.ends = {p: end + act.grows[p] for p, end in world.ends.items()}
        if any(act.copies):
            for table, count in zip(TABLES, act.copies, strict=True):
                world.tables[table] = world.tables[table][: len(world.tables[table]) - count]
            asleep = iter(())
        running = start(world, act)
        wakes = asleep
        for _ in range(act.steps):
            advance(wakes)
            advance(running)
        asleep = running if act.stopped else iter(())
    last_act(world)
    check(world)


def start(world: World, act: Act) -> Iterator[None]:
    known = None
    # Checkpoints of before an older copy of a table are refused.
    if act.checkpoint is not None and world.checkpoints and not any(act.copies):
        known = world.checkpoints[act.checkpoint % len(world.checkpoints)]
        newest = newest_of(world, known.generation)
        if tables_behind(newest.tables, world.states(known.generation)):
            known = None
    return Stream(world, known, reprocess=act.reprocess).run(list(act.sizes))


def newest_of(world: World, generation: int) -> Coverage:
    return max((r for r in world.records if r.generation == generation), key=lambda r: r.sequence)


def advance(process: Iterator[None]) -> None:
    """A step; one that fails, or is refused, was the last."""
    with contextlib.suppress(FencedError, CheckpointError):
        next(process, None)


def check(world: World) -> None:
    messages = {
        (p, offset)
        for p, end in world.ends.items()
        for offset in range(end)
        if world.is_message((p, offset))
    }
    newest = max(record.generation for record in world.records)
    for table in TABLES:
        counted = Counter((f.generation, row) for f in world.tables[table] for row in f.rows)
        assert set(counted.values()) <= {1}, table.name
        assert world.rows(table, newest) == messages, table.name
    assert {row for generation, row in world.published if generation == newest} == messages
