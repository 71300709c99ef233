"""Wallets of external tables: checked, scored, and added to the history."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from scorestream.infra.kafka.records import Records
from scorestream.infra.spark.heartbeat import reporting_progress
from scorestream.wallets.backfill.stored_wallets import moment_records
from scorestream.wallets.core import schemas
from scorestream.wallets.core.actions import VALUES
from scorestream.wallets.core.decode import Decoded
from scorestream.wallets.core.history import (
    WalletHistory,
    fixed_moments,
    score_moments,
)
from scorestream.wallets.core.pipeline import (
    Scored,
    history_rows,
    reject_rows,
)
from scorestream.wallets.core.scoring import Scorings
from scorestream.wallets.execution.wallet_rows import (
    WALLETS_OF,
    RejectedWallets,
    check_rows,
    external_history,
    whole_wallets,
)

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ExternalWallets:
    """All rows of some wallets of an external table, in one file.

    Attributes:
        number: of the file.
        size: bytes of the file.
        source: URI of the table.
        moments: unix seconds at which each wallet is scored.
    """

    uri: str
    number: int
    size: int
    source: str
    moments: list[int]

    def score(
        self, scorings: Scorings, *, include_transactions: bool
    ) -> Iterator[tuple[Scored, Records]]:
        """Read, check and score, in batches of whole wallets."""
        for rows in reporting_progress(whole_wallets(self.uri, len(self.moments))):
            good, rejects = check_rows(rows)
            if rejects.numbers.size:
                yield self._refused(rejects, scorings, include_transactions=include_transactions)
            if good.num_rows:
                history = external_history(good, self.moments[-1], self.source, self.number)
                yield from self._score(history, scorings, include_transactions=include_transactions)

    def _score(
        self, rows: WalletHistory, scorings: Scorings, *, include_transactions: bool
    ) -> Iterator[tuple[Scored, Records]]:
        moments = fixed_moments(rows, np.array(self.moments))
        records = moment_records(WALLETS_OF + self.source, self.number, rows, self.moments)
        for scored in score_moments(rows, moments, scorings):
            yield (
                (
                    replace(scored, transactions=_no_transactions())
                    if include_transactions
                    else scored
                ),
                records,
            )
        if include_transactions:
            # All transactions of a wallet, whether or not it has a score at these moments.
            transactions = _transactions(rows, len(self.moments), moments.as_of)
            rejects = schemas.REJECTED.empty_table()
            yield Scored.without_scores(scorings, rejects, transactions), records

    def _refused(
        self, rejects: RejectedWallets, scorings: Scorings, *, include_transactions: bool
    ) -> tuple[Scored, Records]:
        last = np.full(len(rejects.values), self.moments[-1])
        offsets = (rejects.numbers + 1) * len(self.moments) - 1
        records = Records.without_keys(
            WALLETS_OF + self.source,
            partition=self.number,
            offsets=offsets,
            timestamps=last * 1000,
            values=rejects.values,
        )
        rows = reject_rows(rejects.reasons, last)
        transactions = _no_transactions() if include_transactions else None
        return Scored.without_scores(scorings, rows, transactions), records


def _transactions(rows: WalletHistory, moments: int, as_of: Ints) -> pa.Table:
    """Rows of `HISTORY`; the message of a wallet's is that of its last moment."""
    # With the values, which the scores have been computed from.
    names = [*(name for name in schemas.HISTORY_ROWS.names if name != "message"), *VALUES]
    wallets = len(rows.bounds) - 1
    lasts = pa.array(rows.bounds[1:] - 1)
    decoded = Decoded(
        positions=(np.arange(wallets) + 1) * moments - 1,
        wallets=rows.rows["wallet_address"].take(lasts).to_pylist(),
        counts=np.diff(rows.bounds),
        rows=rows.rows.select(names).add_column(
            0, "message", pa.array(rows.wallet.astype(np.int32))
        ),
        rejects=[],
    )
    return history_rows(decoded, as_of)


def _no_transactions() -> pa.Table:
    return schemas.HISTORY.empty_table()
