"""Fetched messages by column, with their source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from scorestream.infra.times import FIRST_MOMENT, MAX_SECONDS, MIN_SECONDS

ATTEMPT_HEADER: Final = "scorestream-replay-attempt"
# Timestamps of records, in unix milliseconds, that are moments.
FIRST_MOMENT_MS: Final = FIRST_MOMENT * 1000
LAST_MOMENT_MS: Final = MAX_SECONDS * 1000


@dataclass(frozen=True)
class Records:
    """n messages, column by column.

    Attributes:
        topics: n Kafka topics or file URIs, as dictionary codes.
        partitions: int32[n].
        offsets: int64[n], Kafka offset, or byte offset of the line.
        timestamps: int64[n], unix milliseconds, as whoever sent them says: any number.
        attempts: int32[n], how often each was replayed before.
        keys: n raw keys.
        values: n raw values.
    """

    topics: pa.DictionaryArray
    partitions: npt.NDArray[np.int32]
    offsets: npt.NDArray[np.int64]
    timestamps: npt.NDArray[np.int64]
    attempts: npt.NDArray[np.int32]
    keys: list[bytes | None]
    values: list[bytes | None]

    @classmethod
    def without_keys(
        cls,
        topic: str,
        *,
        offsets: npt.NDArray[np.int64],
        timestamps: npt.NDArray[np.int64],
        values: Sequence[bytes | None],
        partition: int = 0,
    ) -> Records:
        """Messages of one topic and partition, or of a file, that were never replayed."""
        count = len(values)
        return cls(
            topics=same_topic(topic, count),
            partitions=np.full(count, partition, dtype=np.int32),
            offsets=offsets,
            timestamps=timestamps,
            attempts=np.zeros(count, dtype=np.int32),
            keys=[None] * count,
            values=list(values),
        )

    def __len__(self) -> int:
        return len(self.values)

    @property
    def as_of(self) -> npt.NDArray[np.int64]:
        """Unix seconds, floored: the moment each message is judged at."""
        moments: npt.NDArray[np.int64] = self.storable_timestamps // 1000
        return moments

    @property
    def storable_timestamps(self) -> npt.NDArray[np.int64]:
        """Unix milliseconds; the nearest that tables and their readers can hold.

        What is no moment becomes none that is.
        """
        return np.clip(self.timestamps, MIN_SECONDS * 1000, LAST_MOMENT_MS + 1)

    @property
    def has_moment(self) -> npt.NDArray[np.bool_]:
        """Whether each timestamp is a moment that a message can be about."""
        flags: npt.NDArray[np.bool_] = (self.timestamps >= FIRST_MOMENT_MS) & (
            self.timestamps <= LAST_MOMENT_MS
        )
        return flags

    @classmethod
    def concat(cls, parts: Sequence[Records]) -> Records:
        """The records of all parts, one after the other."""
        topics = pa.chunked_array([part.topics for part in parts]).unify_dictionaries()
        return cls(
            topics.combine_chunks(),
            np.concatenate([part.partitions for part in parts]),
            np.concatenate([part.offsets for part in parts]),
            np.concatenate([part.timestamps for part in parts]),
            np.concatenate([part.attempts for part in parts]),
            list(chain.from_iterable(part.keys for part in parts)),
            list(chain.from_iterable(part.values for part in parts)),
        )

    def filter(self, flags: npt.NDArray[np.bool_]) -> Records:
        """The records whose flag is set."""
        indices = np.flatnonzero(flags)
        return Records(
            self.topics.take(pa.array(indices)),
            self.partitions[indices],
            self.offsets[indices],
            self.timestamps[indices],
            self.attempts[indices],
            [self.keys[i] for i in indices],
            [self.values[i] for i in indices],
        )

    def parts(self, count: int) -> list[Records]:
        """Cut into so many runs of about equal length, or into single records."""
        number = np.arange(len(self)) * count // max(len(self), 1)
        return [self.filter(number == each) for each in np.unique(number)]


def same_topic(topic: str, count: int) -> pa.DictionaryArray:
    """The topics of records that all have the same."""
    codes = pa.array(np.zeros(count, dtype=np.int32))
    return pa.DictionaryArray.from_arrays(codes, pa.array([topic]))
