"""The table `transactions` as input: every message that it holds, scored again as it came."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyspark.sql import SparkSession

from scorestream.infra.kafka.records import Records
from scorestream.infra.spark.heartbeat import reporting_progress
from scorestream.infra.spark.tasks import run_tasks
from scorestream.infra.storage.filesystem import filesystem_of
from scorestream.wallets.core import schemas
from scorestream.wallets.core.decode import Decoded
from scorestream.wallets.core.entries import DEXES_ENTRIES
from scorestream.wallets.core.pipeline import Scored, score_decoded
from scorestream.wallets.core.rules import SOURCE_ID
from scorestream.wallets.core.scoring import Scorings
from scorestream.wallets.schema.tables import TRANSACTIONS

Ints = npt.NDArray[np.int64]
Source = tuple[str, int, int]
# So many transactions are held in memory at once.
RANGE_ROWS: Final = 1_000_000
DICTIONARIES: Final = ["wallet_address", "action", "pool_id", "source_topic", "run_id"]
COLUMNS: Final = [
    *DICTIONARIES,
    "timestamp",
    "usd_value",
    "token_in.symbol",
    "token_out.symbol",
    "as_of",
    "source_partition",
    "source_offset",
    "source_timestamp",
]


@dataclass(frozen=True)
class RowGroup:
    """Rows of a data file that are read together, and the sources that they may have.

    Attributes:
        lowest: least topic, partition and offset.
        highest: greatest topic, partition and offset.
    """

    uri: str
    number: int
    rows: int
    lowest: Source
    highest: Source


@dataclass(frozen=True)
class HistoryRange:
    """The messages from one source up to before another.

    Attributes:
        groups: all that may hold their rows.
        start: the first message.
        end: the first message behind; None where there is none.
    """

    groups: list[RowGroup]
    start: Source
    end: Source | None

    @property
    def size(self) -> int:
        """Rows of the groups."""
        return sum(group.rows for group in self.groups)

    def score(
        self, scorings: Scorings, *, include_transactions: bool
    ) -> Iterator[tuple[Scored, Records]]:
        """Read and score all messages at once; they are in the history already."""
        del include_transactions
        rows = pa.concat_tables([self._read(group) for group in reporting_progress(self.groups)])
        rows = rows.unify_dictionaries().combine_chunks()
        if rows.num_rows:
            yield _score(_grouped(rows), scorings)

    def _read(self, group: RowGroup) -> pa.Table:
        filesystem, path = filesystem_of(group.uri)
        with pq.ParquetFile(path, filesystem=filesystem, read_dictionary=DICTIONARIES) as file:
            rows = file.read_row_group(group.number, COLUMNS, use_threads=False)
        if group.lowest >= self.start and (self.end is None or group.highest < self.end):
            return rows
        return rows.filter(pa.array(self._holds(rows)))

    def _holds(self, rows: pa.Table) -> npt.NDArray[np.bool_]:
        not_before = _compare(rows, self.start)
        return not_before if self.end is None else not_before & ~_compare(rows, self.end)


def _compare(rows: pa.Table, source: Source) -> npt.NDArray[np.bool_]:
    """Which rows are of a source, or of a later one."""
    topic, partition, offset = source
    topics = rows["source_topic"].cast(pa.string())
    partitions = np.asarray(rows["source_partition"])
    in_partition = (partitions == partition) & (np.asarray(rows["source_offset"]) >= offset)
    in_topic = np.asarray(pc.equal(topics, topic)) & ((partitions > partition) | in_partition)
    later: npt.NDArray[np.bool_] = np.asarray(pc.greater(topics, topic)) | in_topic
    return later


def _grouped(rows: pa.Table) -> pa.Table:
    """The rows of each message together, `message` counting messages from 0."""
    codes = _message_codes(rows)
    starts = np.flatnonzero(np.diff(codes, prepend=codes[0] - 1))
    if len(np.unique(codes[starts])) < len(starts):
        order = np.argsort(codes, kind="stable")
        rows, codes = rows.take(pa.array(order)), codes[order]
    message = np.cumsum(np.diff(codes, prepend=codes[0]) != 0)
    return rows.append_column("message", pa.array(message.astype(np.int32)))


def _message_codes(rows: pa.Table) -> Ints:
    """One integer a message: its source, and the run that stored it."""
    runs, topics = (_indices(rows[name]) for name in ("run_id", "source_topic"))
    partitions = np.asarray(rows["source_partition"]).astype(np.int64)
    names = np.unique(np.stack([runs, topics, partitions]), axis=1, return_inverse=True)[1]
    codes: Ints = (names.astype(np.int64) << 44) | np.asarray(rows["source_offset"])
    return codes


def _indices(column: pa.ChunkedArray) -> Ints:
    indices: Ints = np.asarray(column.combine_chunks().indices).astype(np.int64)
    return indices


def _score(rows: pa.Table, scorings: Scorings) -> tuple[Scored, Records]:
    message = np.asarray(rows["message"])
    firsts = rows.take(pa.array(np.flatnonzero(np.diff(message, prepend=-1))))
    decoded = Decoded(
        positions=np.arange(firsts.num_rows),
        wallets=firsts["wallet_address"].to_pylist(),
        counts=np.bincount(message),
        rows=_scoring_rows(rows),
        rejects=[],
    )
    scored = score_decoded(
        {DEXES_ENTRIES: decoded},
        np.asarray(firsts["as_of"]),
        scorings,
        include_transactions=False,
    )
    return scored, stored_records(firsts)


def _scoring_rows(rows: pa.Table) -> pa.Table:
    """Rows for the scoring model; pools stay dictionaries, which saves making them anew."""
    columns = {
        "message": rows["message"],
        "action": rows["action"].cast(pa.string()),
        "timestamp": rows["timestamp"],
        "pool_id": rows["pool_id"],
        # Scores go by the symbols of swaps only.
        "leg0_symbol": pc.struct_field(rows["token_in"], "symbol"),
        "leg1_symbol": pc.struct_field(rows["token_out"], "symbol"),
        # As it was stored: one column to read instead of the USD of four legs.
        "usd_value": rows["usd_value"],
    }
    return pa.table(columns)


def _marked(topics: pa.DictionaryArray) -> pa.DictionaryArray:
    # The stream goes by the sources of its topic: what was scored again must not pass for its own.
    marked = pc.binary_join_element_wise(f"{TRANSACTIONS.name}:", topics.dictionary, "")
    return pa.DictionaryArray.from_arrays(topics.indices, marked)


def _dictionary(topics: pa.Array) -> pa.DictionaryArray:
    return topics if pa.types.is_dictionary(topics.type) else topics.dictionary_encode()


def stored_records(firsts: pa.Table) -> Records:
    """Where the messages came from when they were stored."""
    count = firsts.num_rows
    # Spark writes timestamps of its own kind.
    micros = np.asarray(firsts["source_timestamp"].cast(schemas.UTC_TIMESTAMP).cast(pa.int64()))
    return Records(
        topics=_marked(_dictionary(firsts["source_topic"].combine_chunks())),
        partitions=np.asarray(firsts["source_partition"]),
        offsets=np.asarray(firsts["source_offset"]),
        timestamps=micros // 1000,
        attempts=np.zeros(count, dtype=np.int32),
        keys=[None] * count,
        values=[None] * count,
    )


def plan_history(spark: SparkSession, uris: Sequence[str]) -> list[HistoryRange]:
    """Cut the table into ranges for the tasks, along the row groups of its data files.

    Args:
        spark: runs the tasks that read the footers.
        uris: of the data files; the less their sources overlap, the less is read.
    """
    parallelism = spark.sparkContext.defaultParallelism
    if not uris:
        return []
    tasks = min(len(uris), parallelism)
    found = run_tasks(spark, _row_groups, [uris[i::tasks] for i in range(tasks)])
    groups = sorted(chain.from_iterable(found), key=lambda group: (group.lowest, group.highest))
    step = min(RANGE_ROWS, sum(group.rows for group in groups) // parallelism + 1)
    starts = _starts(groups, step)
    return [
        HistoryRange(_overlapping(groups, start, end), start, end)
        for start, end in zip(starts, [*starts[1:], None], strict=True)
    ]


def _row_groups(uris: Sequence[str]) -> list[RowGroup]:
    """In a task: what the footers of data files say."""
    return [group for uri in uris for group in _row_groups_of(uri)]


def _row_groups_of(uri: str) -> Iterator[RowGroup]:
    filesystem, path = filesystem_of(uri)
    with pq.ParquetFile(path, filesystem=filesystem) as file:
        names = {file.metadata.schema.column(i).path: i for i in range(file.metadata.num_columns)}
        for number in range(file.metadata.num_row_groups):
            group = file.metadata.row_group(number)
            bounds = [group.column(names[name]).statistics for name in SOURCE_ID]
            lowest, highest = (tuple(getattr(b, end) for b in bounds) for end in ("min", "max"))
            yield RowGroup(uri, number, group.num_rows, lowest, highest)


def _starts(groups: Sequence[RowGroup], step: int) -> list[Source]:
    """First messages of ranges of at least `step` rows, as far as row groups can be told apart."""
    starts: list[Source] = []
    rows = step
    for group in groups:
        if rows >= step and group.lowest not in starts:
            starts.append(group.lowest)
            rows = 0
        rows += group.rows
    return starts


def _overlapping(groups: Sequence[RowGroup], start: Source, end: Source | None) -> list[RowGroup]:
    return [g for g in groups if g.highest >= start and (end is None or g.lowest < end)]
