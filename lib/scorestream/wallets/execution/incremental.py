"""Scoring in tasks where a message carries only what is new: over the wallet's whole history.

A message is judged on all that its wallet is known to have done: its own transactions, and those of
the messages before it, by source time (`core/history.py`). So its score needs what was stored, and
what lies elsewhere in the same batch:

1. `decoded_batch` splits the decoded messages by wallet,
2. :func:`score_with_history` scores all messages of some wallets, beside their stored rows
   (`history_scoring`).

What a message brings enters the history, whether or not it has a score itself: that goes by what
had arrived. Only what is wrong with the message alone keeps it out: it cannot be decoded, or
scoring it by itself crashes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from scorestream.infra.kafka.records import Records
from scorestream.infra.spark.heartbeat import reporting_progress
from scorestream.infra.spark.process_isolation import (
    DEFAULT_TIMEOUT,
    IsolatedProcess,
    Isolation,
    isolate_failures,
)
from scorestream.wallets.core import schemas
from scorestream.wallets.core.actions import VALUES, with_values
from scorestream.wallets.core.decode import Decoded
from scorestream.wallets.core.entries import DEXES_ENTRIES
from scorestream.wallets.core.history import wallet_history
from scorestream.wallets.core.pipeline import (
    Scored,
    history_rows,
    reject_rows,
    score_decoded,
)
from scorestream.wallets.core.scoring import Scorings
from scorestream.wallets.core.wallet_keys import wallet_keys
from scorestream.wallets.execution.decoded_batch import (
    DecodedBatch,
    concat_batches,
    filter_batch,
    split_wallets,
)
from scorestream.wallets.execution.history_lookup import WalletFile, read_wallets
from scorestream.wallets.execution.history_scoring import (
    STORED,
    late_and_corrected,
    score_new_messages,
)
from scorestream.wallets.execution.scoring_task import (
    PARTS,
    Rows,
    ScoringReport,
    scoring_process,
    unscorable_reject,
    write_scored,
)
from scorestream.wallets.execution.table_rows import BatchFacts, source_columns

Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
# Keys of wallets -> their rows (`WALLET_ROWS`) in `transactions`.
WalletRows = Callable[[Sequence[str]], pa.Table]


@dataclass(frozen=True)
class Increments:
    """Results of all messages of some wallets.

    Attributes:
        late: transactions that an earlier message of their wallet should have counted.
        corrected: transactions that came again with another content.
    """

    scored: Scored
    records: Records
    late: int
    corrected: int


def score_with_history(
    batches: Sequence[DecodedBatch],
    files: Sequence[WalletFile],
    scorings: Scorings,
    *,
    isolation: Isolation = Isolation.NEVER,
    timeout: float = DEFAULT_TIMEOUT,
) -> Iterator[Increments]:
    """Score all messages of some wallets over the wallets' history.

    Where scoring is isolated, wallets that crash it are found, and all their messages rejected;
    those that can be scored by themselves stay in the history.

    Args:
        batches: the messages; no other message of their wallets may be scored meanwhile.
        files: all data files of `transactions`.
        scorings: what scores them.
        isolation: when scoring runs in an isolated process.
        timeout: seconds that it may take there.
    """

    def stored(keys: Sequence[str]) -> pa.Table:
        return read_wallets(reporting_progress(files), keys)

    batch = concat_batches(batches)
    if isolation.is_due:
        yield from score_with_history_isolated(batch, stored, scorings, timeout)
    else:
        yield score_increments(batch, stored, scorings)


def score_with_history_isolated(
    batch: DecodedBatch, stored: WalletRows, scorings: Scorings, timeout: float
) -> Iterator[Increments]:
    """Score messages in an isolated process; see :func:`score_with_history`."""

    def work(batch: DecodedBatch) -> Callable[[], Increments]:
        # Read here, so that what hinders reading fails the task, and is no fault of a message.
        keys = pc.unique(wallet_keys(pa.array(batch.decoded.wallets, pa.string()))).to_pylist()
        return partial(_score_beside, batch, stored(keys), scorings)

    with scoring_process(scorings, timeout) as process:

        def give_up(batch: DecodedBatch, why: str) -> Increments:
            return _unscored(batch, why, scorings, _harmless(process, batch, scorings))

        yield from (
            done
            for _, done in isolate_failures(process, work, batch, split_wallets, give_up=give_up)
        )


def _score_beside(batch: DecodedBatch, known: pa.Table, scorings: Scorings) -> Increments:
    return score_increments(batch, lambda _: known, scorings)


def _harmless(process: IsolatedProcess, batch: DecodedBatch, scorings: Scorings) -> Flags:
    """Which of the decoded messages of a wallet can be scored by themselves; a flag for each."""
    records, decoded = batch
    harmless = np.zeros(len(decoded.wallets), dtype=np.bool_)

    def work(some: Ints) -> Callable[[], bool]:
        chosen = np.isin(np.arange(len(records)), decoded.positions[some])
        return partial(_try_alone, filter_batch(batch, chosen), scorings)

    def split(some: Ints) -> list[Ints]:
        return [part for part in np.array_split(some, PARTS) if len(part)] or [some]

    everything = np.arange(len(harmless))
    for some, survived in isolate_failures(
        process, work, everything, split, give_up=lambda *_: False
    ):
        harmless[some] = survived
    return harmless


def _try_alone(batch: DecodedBatch, scorings: Scorings) -> bool:
    records, decoded = batch
    entries = {DEXES_ENTRIES: decoded}
    score_decoded(entries, records.as_of, scorings, include_transactions=True)
    return True


def _unscored(batch: DecodedBatch, why: str, scorings: Scorings, harmless: Flags) -> Increments:
    """All messages of a wallet rejected; those that are harmless stay in the history."""
    records, decoded = batch
    columns = zip(decoded.positions.tolist(), decoded.wallets, decoded.counts.tolist(), strict=True)
    rejects = [unscorable_reject(at, wallet, why, count) for at, wallet, count in columns]
    rows = reject_rows([*decoded.rejects, *rejects], records.as_of)
    transactions = history_rows(decoded, records.as_of, harmless)
    scored = Scored.without_scores(scorings, rows, transactions)
    return Increments(scored, records, 0, 0)


def write_increments(
    increments: Iterable[Increments],
    root: str,
    facts: BatchFacts,
    *,
    keep: Callable[[Rows], Rows] | None = None,
    isolation: Isolation = Isolation.ON_RETRY,
) -> ScoringReport:
    """Write the rows of scored messages; see :func:`write_scored`.

    Args:
        increments: results of the messages.
        root: the warehouse.
        facts: what all rows share.
        keep: picks the rows that are written; None: all are.
        isolation: when the models run in an isolated process.
    """
    done = list(increments)
    scored = [(each.scored, each.records) for each in done]
    report = write_scored(
        scored, root, facts, include_transactions=True, keep=keep, isolation=isolation
    )
    late, corrected = sum(each.late for each in done), sum(each.corrected for each in done)
    return msgspec.structs.replace(report, late=late, corrected=corrected)


def score_increments(batch: DecodedBatch, stored: WalletRows, scorings: Scorings) -> Increments:
    """Score all messages of some wallets.

    1. put their transactions beside what is stored of their wallets, in the order of the sources
    2. score each message at its moment
    3. rows of all results, and of all transactions

    Args:
        batch: the messages.
        stored: keys of wallets -> their rows (`WALLET_ROWS`) in `transactions`.
        scorings: what scores them.
    """
    records, decoded = batch
    # Values are computed once: for the scores, and for what is stored.
    decoded = replace(decoded, rows=with_values(decoded.rows))
    # 1. Put their transactions beside what is stored of their wallets.
    new = _wallet_rows(records, decoded)
    known = with_values(stored(pc.unique(new["wallet_key"]).to_pylist()))
    marked = known.append_column("position", pa.repeat(STORED, known.num_rows).cast(pa.int64()))
    history = wallet_history(pa.concat_tables([marked, new]))
    # 2. Score each message at its moment.
    scores, rejects = score_new_messages(history, decoded, scorings)
    # 3. Rows of all results, and of all transactions.
    rows = reject_rows([*decoded.rejects, *rejects], records.as_of)
    scored = Scored(scores, rows, history_rows(decoded, records.as_of), scorings)
    return Increments(scored, records, *late_and_corrected(history))


def _wallet_rows(records: Records, decoded: Decoded) -> pa.Table:
    """The decoded transactions as `WALLET_ROWS`, with values and `position` of their message."""
    message = decoded.rows["message"].combine_chunks()
    positions = pa.array(decoded.positions).take(message)
    wallets = pa.array(decoded.wallets, pa.string())
    of_message = {"wallet_address": wallets, "wallet_key": wallet_keys(wallets)}
    of_record = source_columns(records) | {"as_of": pa.array(records.as_of)}
    columns = {}
    for name in (*schemas.WALLET_ROWS.names, *VALUES):
        if name in of_message:
            columns[name] = of_message[name].take(message)
        elif name in of_record:
            columns[name] = of_record[name].take(positions)
        else:
            columns[name] = decoded.rows[name]
    return pa.table(columns | {"position": positions})
