"""Wallets of the table `transactions`, scored over their history."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from scorestream.infra.kafka.records import Records
from scorestream.infra.spark.heartbeat import reporting_progress
from scorestream.wallets.backfill.stored_messages import stored_records
from scorestream.wallets.core.history import (
    WalletHistory,
    fixed_moments,
    message_moments,
    score_moments,
    wallet_history,
)
from scorestream.wallets.core.pipeline import Scored
from scorestream.wallets.core.scoring import Scorings
from scorestream.wallets.execution.wallet_rows import WALLETS_OF, whole_wallets
from scorestream.wallets.schema.tables import TRANSACTIONS

Ints = npt.NDArray[np.int64]


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
