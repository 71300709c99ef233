"""Records as a task fetches them, without a broker."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from scorestream.infra.kafka.producer import Record
from scorestream.infra.kafka.records import Records, same_topic

# Timestamps of records, in unix milliseconds, that are no moment.
NO_MOMENTS = [-(2**63), -(2**62), -(10**15), -1001, -1, 0, 1, 999, 10**14 + 1, 2**63 - 1]


def records_of(records: Sequence[Record], first_offset: int = 0) -> Records:
    """The records, all in partition 0 of topic `in`, from an offset on."""
    return Records(
        topics=same_topic("in", len(records)),
        partitions=np.zeros(len(records), dtype=np.int32),
        offsets=np.arange(first_offset, first_offset + len(records)),
        timestamps=np.array([r.timestamp or 0 for r in records], dtype=np.int64),
        attempts=np.zeros(len(records), dtype=np.int32),
        keys=[r.key for r in records],
        values=[r.value for r in records],
    )
