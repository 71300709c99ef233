"""Scoring in tasks where a message carries only what is new: over the wallet's whole history.

A message is judged on all that its wallet is known to have done: its own transactions, and those of
the messages before it, by source time (`core/history.py`). So its score needs what was stored, and
what lies elsewhere in the same batch:

1. `decoded_batch` deals the decoded messages out by wallet,
2. :func:`score_pieces` scores all messages of some wallets, beside their stored rows
   (`history_scoring`).

What a message brings enters the history, whether or not it has a score itself: that goes by what
had arrived. Only what is wrong with the message alone keeps it out: it cannot be decoded, or no
process survives scoring it by itself.
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
from scorestream.infra.spark.heartbeat import getting_on
from scorestream.infra.spark.isolation import Care, Helper, carefully
from scorestream.wallets.core import schemas
from scorestream.wallets.core.actions import VALUES, with_values
from scorestream.wallets.core.decode import Decoded
from scorestream.wallets.core.history import wallet_history
from scorestream.wallets.core.pipeline import (
    Scored,
    ScoringModel,
    history_rows,
    reject_rows,
    score_decoded,
)
from scorestream.wallets.core.wallet_keys import wallet_keys
from scorestream.wallets.execution.decoded_batch import (
    Piece,
    chosen_piece,
    joined,
    wallet_parts,
)
from scorestream.wallets.execution.history_lookup import WalletFile, read_wallets
from scorestream.wallets.execution.history_scoring import STORED, late_and_corrected, settle
from scorestream.wallets.execution.scoring_task import (
    PARTS,
    Rows,
    ScoringReport,
    scoring_helper,
    unscorable,
    write_scored,
)
from scorestream.wallets.execution.table_rows import BatchFacts, source_columns

Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
# Keys of wallets -> their rows (`WALLET_ROWS`) in `transactions`.
WalletRows = Callable[[Sequence[str]], pa.Table]


@dataclass(frozen=True)
class Increments:
    """What became of the messages of some wallets.

    Attributes:
        late: transactions that an earlier message of their wallet should have counted.
        corrected: transactions that came again with another content.
    """

    scored: Scored
    records: Records
    late: int
    corrected: int


def score_pieces(
    pieces: Sequence[Piece],
    files: Sequence[WalletFile],
    model: ScoringModel,
    care: Care | None,
) -> Iterator[Increments]:
    """Score all messages of some wallets.

    In a task that works with care, a wallet that cannot be scored is found, and all its messages
    are rejected; those that can be scored by themselves stay in the history.

    Args:
        pieces: the messages; no other message of their wallets may be scored meanwhile.
        files: all data files of `transactions`.
        model: the scoring model.
        care: how it is taken; None for never.
    """

    def stored(keys: Sequence[str]) -> pa.Table:
        return read_wallets(getting_on(files), keys)

    if care is not None and care.is_due:
        yield from score_pieces_carefully(joined(pieces), stored, model, care.seconds)
    else:
        yield score_increments(joined(pieces), stored, model)


def score_pieces_carefully(
    piece: Piece, stored: WalletRows, model: ScoringModel, seconds: float
) -> Iterator[Increments]:
    """Score messages in a process of their own; see :func:`score_pieces`."""

    def call(piece: Piece) -> Callable[[], Increments]:
        # Read here, so that what hinders reading fails the task, and is no fault of a message.
        keys = pc.unique(wallet_keys(pa.array(piece.decoded.wallets, pa.string()))).to_pylist()
        return partial(_score_beside, piece, stored(keys), model)

    with scoring_helper(model, seconds) as helper:

        def give_up(piece: Piece, why: str) -> Increments:
            return _unscored(piece, why, _harmless(helper, piece, model))

        yield from (done for _, done in carefully(helper, call, piece, wallet_parts, give_up))


def _score_beside(piece: Piece, known: pa.Table, model: ScoringModel) -> Increments:
    return score_increments(piece, lambda _: known, model)


def _harmless(helper: Helper, piece: Piece, model: ScoringModel) -> Flags:
    """Which of the decoded messages of a wallet a process survives, each scored by itself."""
    records, decoded = piece
    harmless = np.zeros(len(decoded.wallets), dtype=np.bool_)

    def call(some: Ints) -> Callable[[], bool]:
        chosen = np.isin(np.arange(len(records)), decoded.positions[some])
        return partial(_try_alone, chosen_piece(records, decoded, chosen), model)

    def parts(some: Ints) -> list[Ints]:
        return [part for part in np.array_split(some, PARTS) if len(part)] or [some]

    everything = np.arange(len(harmless))
    for some, survived in carefully(helper, call, everything, parts, lambda *_: False):
        harmless[some] = survived
    return harmless


def _try_alone(piece: Piece, model: ScoringModel) -> bool:
    records, decoded = piece
    score_decoded(decoded, records.as_of, model, include_transactions=True)
    return True


def _unscored(piece: Piece, why: str, harmless: Flags) -> Increments:
    """All messages of a wallet rejected; those that are harmless stay in the history."""
    records, decoded = piece
    columns = zip(decoded.positions.tolist(), decoded.wallets, decoded.counts.tolist(), strict=True)
    rejects = [unscorable(at, wallet, why, count) for at, wallet, count in columns]
    rows = reject_rows([*decoded.rejects, *rejects], records.as_of)
    transactions = history_rows(decoded, records.as_of, harmless)
    return Increments(Scored(schemas.SCORED.empty_table(), rows, transactions), records, 0, 0)


def write_increments(
    increments: Iterable[Increments],
    root: str,
    facts: BatchFacts,
    keep: Callable[[Rows], Rows] = lambda rows: rows,
    care: Care | None = None,
) -> ScoringReport:
    """Write the rows of scored messages; see :func:`write_scored`.

    Args:
        increments: what became of the messages.
        root: the warehouse.
        facts: what all rows share.
        keep: picks the rows that are written.
        care: how models are taken.
    """
    done = list(increments)
    scored = [(each.scored, each.records) for each in done]
    report = write_scored(scored, root, facts, True, keep, care)
    late, corrected = sum(each.late for each in done), sum(each.corrected for each in done)
    return msgspec.structs.replace(report, late=late, corrected=corrected)


def score_increments(piece: Piece, stored: WalletRows, model: ScoringModel) -> Increments:
    """Score all messages of some wallets.

    1. put their transactions beside what is stored of their wallets, in the order of the sources
    2. score each message at its moment
    3. rows of all results, and of all transactions

    Args:
        piece: the messages.
        stored: keys of wallets -> their rows (`WALLET_ROWS`) in `transactions`.
        model: the scoring model.
    """
    records, decoded = piece
    # Values are computed once: for the scores, and for what is stored.
    decoded = replace(decoded, rows=with_values(decoded.rows))
    # 1. Put their transactions beside what is stored of their wallets.
    new = _wallet_rows(records, decoded)
    known = with_values(stored(pc.unique(new["wallet_key"]).to_pylist()))
    marked = known.append_column("position", pa.repeat(STORED, known.num_rows).cast(pa.int64()))
    history = wallet_history(pa.concat_tables([marked, new]))
    # 2. Score each message at its moment.
    scores, rejects = settle(history, decoded, model)
    # 3. Rows of all results, and of all transactions.
    rows = reject_rows([*decoded.rejects, *rejects], records.as_of)
    scored = Scored(scores, rows, history_rows(decoded, records.as_of))
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
