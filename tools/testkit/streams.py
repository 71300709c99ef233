"""Starts of a stream in a test's own process."""

from __future__ import annotations

from collections.abc import Iterable

from scorestream.infra.delta.warehouse import Warehouse
from scorestream.wallets.stream.checkpoint import StreamState
from scorestream.wallets.stream.coverage import Coverage, CoverageTable
from scorestream.wallets.stream.start import Start


def start_over(warehouse: Warehouse, topic: str, partitions: Iterable[int] = range(4)) -> Start:
    """A start after what is delivered, whatever checkpoint there was."""
    state = StreamState(topic=topic, topic_id="id")
    coverage = CoverageTable(warehouse, topic).believed(0) or Coverage(topic, "id")
    return Start.after(state, coverage, warehouse, partitions)
