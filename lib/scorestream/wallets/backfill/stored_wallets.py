"""Wallets of the table `transactions`, scored over their history."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from scorestream.infra.kafka.records import Records
from scorestream.infra.spark.heartbeat import reporting_progress
from scorestream.infra.storage.filesystem import filesystem_of
from scorestream.wallets.backfill.stored_messages import stored_records
from scorestream.wallets.core import schemas
from scorestream.wallets.core.history import (
    WalletHistory,
    fixed_moments,
    message_moments,
    score_moments,
    wallet_history,
)
from scorestream.wallets.core.pipeline import Scored
from scorestream.wallets.core.scoring import Scorings
from scorestream.wallets.schema.tables import TRANSACTIONS

Ints = npt.NDArray[np.int64]
# So many rows, each at every moment, are scored at once, unless one wallet has more.
BATCH_ROWS: Final = 250_000
MIN_ROWS: Final = 100
READ_ROWS: Final = 50_000
# Prefix of the source topic of scores that are of no message: of a wallet at a given moment.
WALLETS_OF: Final = "wallets:"


@dataclass(frozen=True)
class StoredWallets:
    """All stored rows of some wallets, in one file.

    Attributes:
        number: of the file.
        size: bytes of the file.
        moments: unix seconds at which each wallet is scored; none: at each of its messages' own.
    """

    uri: str
    number: int
    size: int
    moments: list[int]

    def score(
        self, scorings: Scorings, *, include_transactions: bool
    ) -> Iterator[tuple[Scored, Records]]:
        """Read and score, in batches of whole wallets; their rows are in the history already."""
        del include_transactions
        for rows in reporting_progress(whole_wallets(self.uri, len(self.moments))):
            history = wallet_history(rows)
            if self.moments:
                moments = fixed_moments(history, np.array(self.moments))
                topic = WALLETS_OF + TRANSACTIONS.name
                records = moment_records(topic, self.number, history, self.moments)
            else:
                moments = message_moments(history)
                firsts = history.rows.take(pa.array(history.message_bounds[:-1]))
                records = stored_records(firsts)
            for scored in score_moments(history, moments, scorings):
                yield scored, records


def moment_records(
    topic: str, partition: int, history: WalletHistory, moments: Sequence[int]
) -> Records:
    """Records in place of messages, where every wallet is scored at the same moments.

    Offsets go by the `number` of the wallet among those of its file, so that they are the same
    whenever the file is scored.
    """
    numbers = np.asarray(history.rows["number"])[history.bounds[:-1]]
    offsets = (numbers[:, None] * len(moments) + np.arange(len(moments))).ravel()
    return Records.without_keys(
        topic,
        partition=partition,
        offsets=offsets,
        timestamps=np.tile(np.array(moments), len(numbers)) * 1000,
        values=[None] * len(offsets),
    )


def whole_wallets(uri: str, moments: int) -> Iterator[pa.Table]:
    """The rows of a file in batches, each wallet's in one of them.

    A column `number` counts the wallets of the file from 0.

    Args:
        uri: of the file.
        moments: at how many each wallet is scored; the more, the smaller are the batches.
    """
    size = max(MIN_ROWS, BATCH_ROWS // max(moments, 1))
    filesystem, path = filesystem_of(uri)
    with pq.ParquetFile(path, filesystem=filesystem) as file:
        batches = file.iter_batches(min(READ_ROWS, size), use_threads=False)
        yield from gather_wallets(batches, size)


def gather_wallets(batches: Iterable[pa.RecordBatch], size: int = BATCH_ROWS) -> Iterator[pa.Table]:
    """Rows in batches of about `size`, each wallet's in one of them; a column `number` is added.

    Args:
        batches: rows with a `wallet_key`, those of a wallet together.
        size: of the batches that are given; those with a wallet of more rows are larger.
    """
    number = 0
    for rows in _gather(batches, size):
        codes = np.asarray(rows["wallet_key"].combine_chunks().dictionary_encode().indices)
        yield rows.append_column("number", pa.array(number + codes.astype(np.int64)))
        number += int(codes[-1]) + 1


def _gather(batches: Iterable[pa.RecordBatch], size: int) -> Iterator[pa.Table]:
    pending: pa.Table | None = None
    for batch in batches:
        rows = pa.Table.from_batches([batch])
        pending = rows if pending is None else pa.concat_tables([pending, rows])
        if pending.num_rows < size:
            continue
        # Rows of the last wallet may follow.
        last = pending["wallet_key"][pending.num_rows - 1]
        end = pending.num_rows - pc.sum(pc.equal(pending["wallet_key"], last)).as_py()
        if end:
            yield _typed(pending[:end])
            pending = pending[end:]
    if pending is not None and pending.num_rows:
        yield _typed(pending)


def _typed(rows: pa.Table) -> pa.Table:
    """Columns as our schemas have them; Spark writes timestamps of its own kind."""
    known = {field.name: field for field in (*schemas.WALLET_ROWS, *schemas.HISTORY_ROWS)}
    fields = [known.get(field.name, field) for field in rows.schema]
    return rows.cast(pa.schema([pa.field(field.name, field.type) for field in fields]))
