"""Wallets of external tables: checked, scored, and added to the history."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from scorestream.infra.kafka.records import Records
from scorestream.infra.spark.heartbeat import reporting_progress
from scorestream.wallets.backfill.stored_wallets import (
    WALLETS_OF,
    moment_records,
    whole_wallets,
)
from scorestream.wallets.core import schemas
from scorestream.wallets.core.actions import VALUES
from scorestream.wallets.core.decode import Decoded, Reject, decode
from scorestream.wallets.core.history import (
    WalletHistory,
    fixed_moments,
    score_moments,
    wallet_history,
)
from scorestream.wallets.core.pipeline import (
    Scored,
    history_rows,
    reject_rows,
)
from scorestream.wallets.core.scoring import Scorings

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


@dataclass(frozen=True)
class RejectedWallets:
    """Wallets with a bad row: their number in the file, why, and the rows as messages."""

    numbers: Ints
    reasons: list[Reject]
    values: list[bytes]


def check_rows(rows: pa.Table) -> tuple[pa.Table, RejectedWallets]:
    """The rows of the wallets without a bad one, and the rejects of the others.

    Rows with a `defect` are decoded as messages; those that the decoder accepts are as it reads
    them.
    """
    suspects = np.flatnonzero(np.asarray(rows["defect"].is_valid()))
    values = [value.encode() for value in rows["defect"].take(pa.array(suspects)).to_pylist()]
    decoded = decode(values)
    number = np.asarray(rows["number"])
    bad_rows = suspects[[reject.position for reject in decoded.rejects]]
    bad = np.isin(number, number[bad_rows])
    plain = np.asarray(rows["defect"].is_null()) & ~bad
    read = suspects[decoded.positions]
    corrected = _corrected(rows, read, decoded).filter(pa.array(~bad[read]))
    good = rows.drop_columns(["defect"])
    good = pa.concat_tables([good.filter(pa.array(plain)), corrected.select(good.column_names)])
    return good, _rejects(rows, decoded, bad_rows, values)


def _corrected(rows: pa.Table, read: Ints, decoded: Decoded) -> pa.Table:
    """The rows that the decoder accepted, with the values as it reads them."""
    corrected = decoded.rows.drop_columns(["message"])
    for name in ("wallet_key", "wallet_address", "number"):
        corrected = corrected.append_column(name, rows[name].take(pa.array(read)))
    return corrected


def _rejects(
    rows: pa.Table, decoded: Decoded, bad_rows: Ints, values: list[bytes]
) -> RejectedWallets:
    number = np.asarray(rows["number"])
    counts = np.bincount(number - number[0])
    reasons: dict[int, Reject] = {}
    texts: dict[int, list[bytes]] = {}
    for reject, row in zip(decoded.rejects, bad_rows.tolist(), strict=True):
        wallet = int(number[row])
        count = int(counts[wallet - number[0]])
        reasons.setdefault(
            wallet,
            Reject(len(reasons), reject.code, reject.error, reject.wallet_address, count),
        )
        texts.setdefault(wallet, []).append(values[reject.position])
    return RejectedWallets(
        np.array(list(reasons), dtype=np.int64),
        list(reasons.values()),
        [b"\n".join(lines) for lines in texts.values()],
    )


def external_history(
    rows: pa.Table, moment: int, source: str = "", number: int = 0
) -> WalletHistory:
    """The history that rows without a source are, known at a moment.

    Args:
        rows: `WALLET_ROWS` without the columns that say when they became known.
        moment: unix seconds.
        source: URI of the table that they are of.
        number: of the part of it that they are.
    """
    micros = pa.scalar(moment * 1_000_000, pa.int64())
    known = {
        "as_of": pa.scalar(moment),
        "source_topic": pa.scalar(WALLETS_OF + source),
        "source_partition": pa.scalar(number, pa.int32()),
        "source_offset": pa.scalar(0),
        "source_timestamp": micros.cast(schemas.UTC_TIMESTAMP),
    }
    for name, value in known.items():
        rows = rows.append_column(name, pa.repeat(value, rows.num_rows))
    return wallet_history(rows)


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
