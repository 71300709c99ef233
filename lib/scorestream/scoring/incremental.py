"""Scoring in tasks where a message carries only what is new: over the wallet's whole history.

A message is judged on all that its wallet is known to have done: its own transactions, and those of
the messages before it, by source time (`core/history.py`). So its score needs what was stored, and
what lies elsewhere in the same batch:

1. :func:`split_by_wallet` deals the decoded messages out by wallet,
2. :func:`score_pieces` scores all messages of some wallets, beside their stored rows.

A rejected message adds nothing to the history.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, repeat, starmap
from typing import Final, NamedTuple
from zlib import crc32

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from scorestream.core import schemas
from scorestream.core.decode import Decoded, Reject, decode
from scorestream.core.history import (
    WalletHistory,
    message_moments,
    score_moments,
    wallet_history,
)
from scorestream.core.pipeline import (
    NON_FINITE,
    Scored,
    ScoringModel,
    history_rows,
    reject_rows,
)
from scorestream.core.records import Records
from scorestream.core.wallets import wallet_key, wallet_keys
from scorestream.io.delta.lookup import WalletFile, read_wallets
from scorestream.scoring.rows import BatchFacts, source_columns
from scorestream.scoring.task import (
    PARTS,
    Rows,
    ScoringReport,
    scoring_helper,
    unscorable,
    unscorable_records,
    write_scored,
)
from scorestream.spark.careful import Care, carefully

Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
# Keys of wallets -> their rows (`WALLET_ROWS`) in `transactions`.
WalletRows = Callable[[Sequence[str]], pa.Table]
NOTHING_YET: Final = (
    "nothing_yet",
    "all transactions of the wallet lie after the moment of the message",
)
# So many failures of a wallet in one batch are told apart one by one.
MOST_FAILURES: Final = 20
# Marks the rows that were stored before.
_STORED: Final = -1
_SCORED, _NON_FINITE, _NOTHING_YET = range(3)


class Piece(NamedTuple):
    """Messages of some wallets, decoded."""

    records: Records
    decoded: Decoded


@dataclass(frozen=True)
class Increments:
    """What became of the messages of some wallets.

    Attributes:
        late: transactions that an earlier score of their wallet should have counted.
        corrected: transactions that came again with another content.
    """

    scored: Scored
    records: Records
    late: int
    corrected: int


def split_by_wallet(batches: Iterable[Piece], buckets: int) -> Iterator[tuple[int, Piece]]:
    """Deal decoded messages out into buckets, all of one wallet into the same.

    Yields:
        A bucket's number and messages for it. What cannot be decoded is spread over the buckets.
    """
    for records, decoded in batches:
        # By its source, so that a task that is run again deals it out alike.
        bucket = (records.partitions + records.offsets) % buckets
        keys = [wallet_key(wallet) for wallet in decoded.wallets]
        bucket[decoded.positions] = [crc32(key.encode()) % buckets for key in keys]
        for number in np.unique(bucket).tolist():
            yield number, _piece(records, decoded, bucket == number)


def _piece(records: Records, decoded: Decoded, chosen: Flags) -> Piece:
    """The messages of a batch that are chosen."""
    position = np.cumsum(chosen) - 1
    ours = chosen[decoded.positions]
    message = np.asarray(decoded.rows["message"])
    renumbered = (np.cumsum(ours) - 1).astype(np.int32)[message[ours[message]]]
    rows = decoded.rows.filter(pa.array(ours[message])).set_column(
        0, "message", pa.array(renumbered)
    )
    rejects = [
        Reject(int(position[r.position]), r.code, r.error, r.wallet_address, r.transaction_count)
        for r in decoded.rejects
        if chosen[r.position]
    ]
    return Piece(
        records.filter(chosen),
        Decoded(
            position[decoded.positions[ours]],
            [decoded.wallets[i] for i in np.flatnonzero(ours)],
            decoded.counts[ours],
            rows,
            rejects,
        ),
    )


def _joined(pieces: Sequence[Piece]) -> Piece:
    """All messages of pieces as one."""
    sizes = [len(piece.records) for piece in pieces]
    starts = np.cumsum([0, *sizes]).tolist()
    accepted = np.cumsum([0, *(len(piece.decoded.wallets) for piece in pieces)]).tolist()
    parts = [piece.decoded for piece in pieces]
    rows = [
        part.rows.set_column(0, "message", pa.array(np.asarray(part.rows["message"]) + np.int32(n)))
        for part, n in zip(parts, accepted[:-1], strict=True)
    ]
    rejects = [
        Reject(start + r.position, r.code, r.error, r.wallet_address, r.transaction_count)
        for part, start in zip(parts, starts[:-1], strict=True)
        for r in part.rejects
    ]
    return Piece(
        Records.concat([piece.records for piece in pieces]),
        Decoded(
            np.concatenate([p.positions + s for p, s in zip(parts, starts[:-1], strict=True)]),
            [wallet for part in parts for wallet in part.wallets],
            np.concatenate([part.counts for part in parts]),
            pa.concat_tables(rows),
            rejects,
        ),
    )


def decode_records(batches: Iterable[Records], model: ScoringModel, care: Care) -> Iterator[Piece]:
    """Decode records; in a task that works with care, what cannot be is found and rejected.

    Args:
        batches: the records.
        model: the scoring model.
        care: how it is taken.
    """
    if not care.is_due:
        yield from (Piece(records, decode(records.values)) for records in batches)
        return
    with scoring_helper(model, care.seconds) as helper:
        for batch in batches:
            done = carefully(helper, _decoding, batch, lambda r: r.parts(PARTS), _undecoded)
            yield from starmap(Piece, done)


def _decoding(records: Records) -> Callable[[], Decoded]:
    return partial(decode, records.values)


def _undecoded(records: Records, why: str) -> Decoded:
    return replace(decode([]), rejects=unscorable_records(records, why))


def score_pieces(
    pieces: Sequence[Piece],
    files: Sequence[WalletFile],
    model: ScoringModel,
    care: Care | None,
) -> Iterator[Increments]:
    """Score all messages of some wallets.

    In a task that works with care, a wallet that cannot be scored is found, and all its messages
    are rejected.

    Args:
        pieces: the messages; no other message of their wallets may be scored meanwhile.
        files: all data files of `transactions`.
        model: the scoring model.
        care: how it is taken; None for never.
    """
    stored = partial(read_wallets, files)
    if care is not None and care.is_due:
        yield from score_pieces_carefully(_joined(pieces), stored, model, care.seconds)
    else:
        yield score_increments(_joined(pieces), stored, model)


def score_pieces_carefully(
    piece: Piece, stored: WalletRows, model: ScoringModel, seconds: float
) -> Iterator[Increments]:
    """Score messages in a process of their own; see :func:`score_pieces`."""

    def call(piece: Piece) -> Callable[[], Increments]:
        # Read here, so that what hinders reading fails the task, and is no fault of a message.
        keys = pc.unique(wallet_keys(pa.array(piece.decoded.wallets, pa.string()))).to_pylist()
        return partial(_score_beside, piece, stored(keys), model)

    with scoring_helper(model, seconds) as helper:
        yield from (done for _, done in carefully(helper, call, piece, _parts, _unscored))


def _score_beside(piece: Piece, known: pa.Table, model: ScoringModel) -> Increments:
    return score_increments(piece, lambda _: known, model)


def _parts(piece: Piece) -> list[Piece]:
    """Cut messages into parts, all of a wallet in the same; what is not decoded into any."""
    keys = [wallet_key(wallet) for wallet in piece.decoded.wallets]
    wallets, wallet = np.unique(keys, return_inverse=True)
    part = np.zeros(len(piece.records), dtype=np.int64)
    part[piece.decoded.positions] = wallet * PARTS // max(len(wallets), 1)
    return [_piece(*piece, part == number) for number in np.unique(part)]


def _unscored(piece: Piece, why: str) -> Increments:
    """All messages of a wallet rejected."""
    records, decoded = piece
    columns = zip(decoded.positions.tolist(), decoded.wallets, decoded.counts.tolist(), strict=True)
    rejects = [unscorable(at, wallet, why, count) for at, wallet, count in columns]
    rows = reject_rows([*decoded.rejects, *rejects], records.as_of)
    scored = Scored(schemas.SCORED.empty_table(), rows, schemas.HISTORY.empty_table())
    return Increments(scored, records, 0, 0)


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
    2. score each message at its moment; what cannot be scored is taken out of the history again
    3. rows of all results

    Args:
        piece: the messages.
        stored: keys of wallets -> their rows (`WALLET_ROWS`) in `transactions`.
        model: the scoring model.
    """
    records, decoded = piece
    # 1.
    new = _wallet_rows(records, decoded)
    known = stored(pc.unique(new["wallet_key"]).to_pylist())
    marked = known.append_column("position", pa.repeat(_STORED, known.num_rows).cast(pa.int64()))
    history = wallet_history(pa.concat_tables([marked, new]))
    # 2.
    scores, rejects = _settle(history, decoded, model)
    # 3.
    rejected = np.zeros(len(records), dtype=np.bool_)
    rejected[[reject.position for reject in rejects]] = True
    transactions = history_rows(decoded, records.as_of, ~rejected[decoded.positions])
    scored = Scored(scores, reject_rows([*decoded.rejects, *rejects], records.as_of), transactions)
    return Increments(scored, records, *_late_and_corrected(history))


def _wallet_rows(records: Records, decoded: Decoded) -> pa.Table:
    """The decoded transactions as `WALLET_ROWS`, with the `position` of their message."""
    message = decoded.rows["message"].combine_chunks()
    positions = pa.array(decoded.positions).take(message)
    wallets = pa.array(decoded.wallets, pa.string())
    of_message = {"wallet_address": wallets, "wallet_key": wallet_keys(wallets)}
    of_record = source_columns(records) | {"as_of": pa.array(records.as_of)}
    columns = []
    for field in schemas.WALLET_ROWS:
        if field.name in of_message:
            columns.append(of_message[field.name].take(message))
        elif field.name in of_record:
            columns.append(of_record[field.name].take(positions))
        else:
            columns.append(decoded.rows[field.name])
    rows = pa.Table.from_arrays(columns, schema=schemas.WALLET_ROWS)
    return rows.append_column("position", positions)


def _settle(
    history: WalletHistory, decoded: Decoded, model: ScoringModel
) -> tuple[pa.Table, list[Reject]]:
    """Scores of the new messages, and the rejects of those that cannot be scored.

    The messages of a wallet are settled up to the first that cannot be scored; those behind it are
    scored once more, without it. A wallet that goes on failing has all at once rejected that fail,
    so that it cannot hold up the others for long.
    """
    position = _message_positions(history)
    moments = message_moments(history)
    pending = np.flatnonzero(position != _STORED)
    ignored = np.zeros(history.rows.num_rows, dtype=np.bool_)
    scores, rejects = [schemas.SCORED.empty_table()], []
    for patience in chain(range(MOST_FAILURES, 0, -1), repeat(0)):
        if not len(pending):
            break
        results = list(score_moments(history, moments.take(pending), model, ignored))
        state = _states(results, len(pending))
        first = _first_failures(moments.wallet[pending], state)
        if patience:
            done = np.arange(len(pending)) <= first
        else:
            done = (first == len(pending)) | (state != _SCORED)
        scores += [_kept(result.scores, done, position[pending]) for result in results]
        failed = done & (state != _SCORED)
        reasons = zip(position[pending[failed]].tolist(), state[failed].tolist(), strict=True)
        rejects += [_reject(decoded, at, reason) for at, reason in reasons]
        ignored |= np.isin(history.message, pending[failed])
        pending = pending[~done]
    return pa.concat_tables(scores), rejects


def _message_positions(history: WalletHistory) -> Ints:
    """The position of each message of the history; `_STORED` for those that are not new."""
    if not history.rows.num_rows:
        return np.zeros(0, dtype=np.int64)
    # A repetition may find rows of a message stored already.
    rows = np.asarray(history.rows["position"])
    positions: Ints = np.maximum.reduceat(rows, history.message_bounds[:-1])
    return positions


def _states(results: Iterable[Scored], moments: int) -> Ints:
    state = np.full(moments, _NOTHING_YET)
    for result in results:
        state[np.asarray(result.scores["position"])] = _SCORED
        state[np.asarray(result.rejects["position"])] = _NON_FINITE
    return state


def _first_failures(wallet: Ints, state: Ints) -> Ints:
    """For each moment the first of its wallet that failed; behind all where none did."""
    failed = np.flatnonzero(state != _SCORED)
    first = np.full(wallet.max() + 1, len(wallet))
    np.minimum.at(first, wallet[failed], failed)
    return first[wallet]


def _kept(scores: pa.Table, done: Flags, positions: Ints) -> pa.Table:
    """The scores that stand, by the position of their message."""
    scores = scores.filter(pa.array(done[np.asarray(scores["position"])]))
    return scores.set_column(0, "position", pa.array(positions[np.asarray(scores["position"])]))


def _reject(decoded: Decoded, position: int, state: int) -> Reject:
    [at] = np.flatnonzero(decoded.positions == position)
    reason = {_NON_FINITE: ("non_finite_result", NON_FINITE), _NOTHING_YET: NOTHING_YET}[state]
    return Reject(position, *reason, decoded.wallets[at], int(decoded.counts[at]))


def _late_and_corrected(history: WalletHistory) -> tuple[int, int]:
    """How many new transactions came late, and how many came again with another content."""
    rows, new = history.rows, np.asarray(history.rows["position"]) != _STORED
    stored = np.flatnonzero(~new)
    latest = np.full(history.wallet.max(initial=0) + 1, np.iinfo(np.int64).min)
    np.maximum.at(latest, history.wallet[stored], np.asarray(rows["as_of"])[stored])
    last = np.full(history.document.max(initial=0) + 1, _STORED)
    np.maximum.at(last, history.document[stored], stored)
    before = last[history.document]
    is_late = np.asarray(rows["timestamp"]) <= latest[history.wallet]
    again = np.flatnonzero(new & (before != _STORED))
    late = new & (before == _STORED) & is_late
    return int(late.sum()), _differing(rows, again, before[again])


def _differing(rows: pa.Table, some: Ints, others: Ints) -> int:
    """How many of some rows differ from others in what a score goes by."""
    differs = np.zeros(len(some), dtype=np.bool_)
    for name in schemas.SCORING_ROWS.names[1:]:
        a, b = rows[name].take(pa.array(some)), rows[name].take(pa.array(others))
        one_null = pc.xor(pc.is_null(a), pc.is_null(b))
        differs |= np.asarray(pc.coalesce(pc.not_equal(a, b), one_null))
    return int(differs.sum())
