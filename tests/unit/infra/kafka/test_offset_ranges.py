"""Offset ranges, cut into tasks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scorestream.infra.kafka.consumer import OffsetRange, split_ranges, task_count

ranges = st.lists(st.tuples(st.integers(0, 50), st.integers(1, 300)), min_size=1, max_size=9).map(
    lambda bounds: [OffsetRange("t", p, a, a + n) for p, (a, n) in enumerate(bounds)]
)


@given(ranges=ranges, tasks=st.integers(1, 12))
def test_every_offset_is_in_one_task_and_tasks_are_of_equal_length(
    ranges: list[OffsetRange], tasks: int
) -> None:
    split = split_ranges(ranges, tasks)
    offsets = [
        (piece.partition, offset)
        for task in split
        for piece in task
        for offset in range(piece.start, piece.end)
    ]
    assert offsets == [(r.partition, o) for r in ranges for o in range(r.start, r.end)]
    lengths = [sum(map(len, task)) for task in split]
    assert len(split) <= tasks
    assert max(lengths) - min(lengths[:-1] or lengths) == 0
    for task in split:
        assert len({piece.partition for piece in task}) == len(task)


@pytest.mark.parametrize(
    ("records", "cores", "tasks"),
    [(0, 4, 1), (999, 8, 1), (1000, 8, 2), (400_000, 8, 8), (400_001, 8, 9), (1_000_000, 2, 20)],
)
def test_small_batches_have_few_tasks_and_tasks_are_bounded(
    records: int, cores: int, tasks: int
) -> None:
    assert task_count(records, cores) == tasks
