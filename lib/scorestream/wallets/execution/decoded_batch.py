"""Messages, decoded and dealt out by wallet, for scores that need all messages of a wallet."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import starmap
from typing import NamedTuple
from zlib import crc32

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from scorestream.infra.kafka.records import Records
from scorestream.infra.spark.isolation import Care, carefully
from scorestream.wallets.core.decode import Decoded, Reject, decode
from scorestream.wallets.core.pipeline import ScoringModel
from scorestream.wallets.core.wallet_keys import wallet_key
from scorestream.wallets.execution.scoring_task import (
    PARTS,
    scoring_helper,
    timeless,
    unscorable_records,
)

Flags = npt.NDArray[np.bool_]


class Piece(NamedTuple):
    """Messages of some wallets, decoded."""

    records: Records
    decoded: Decoded


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
            yield number, chosen_piece(records, decoded, bucket == number)


def chosen_piece(records: Records, decoded: Decoded, chosen: Flags) -> Piece:
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


def joined(pieces: Sequence[Piece]) -> Piece:
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


def wallet_parts(piece: Piece) -> list[Piece]:
    """Cut messages into parts, all of a wallet in the same; what is not decoded into any."""
    keys = [wallet_key(wallet) for wallet in piece.decoded.wallets]
    wallets, wallet = np.unique(keys, return_inverse=True)
    part = np.zeros(len(piece.records), dtype=np.int64)
    part[piece.decoded.positions] = wallet * PARTS // max(len(wallets), 1)
    return [chosen_piece(*piece, part == number) for number in np.unique(part)]


def decode_records(batches: Iterable[Records], model: ScoringModel, care: Care) -> Iterator[Piece]:
    """Decode records; in a task that works with care, what cannot be is found and rejected.

    Args:
        batches: the records.
        model: the scoring model.
        care: how it is taken.
    """
    if not care.is_due:
        yield from (Piece(records, _decoding(records)()) for records in batches)
        return
    with scoring_helper(model, care.seconds) as helper:
        for batch in batches:
            done = carefully(helper, _decoding, batch, lambda r: r.parts(PARTS), _undecoded)
            yield from starmap(Piece, done)


def _decoding(records: Records) -> Callable[[], Decoded]:
    return partial(decode, records.values, refused=timeless(records))


def _undecoded(records: Records, why: str) -> Decoded:
    return replace(decode([]), rejects=unscorable_records(records, why))
