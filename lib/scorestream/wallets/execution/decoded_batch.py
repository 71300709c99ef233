"""Decoded messages, split by wallet, for scores that need all messages of a wallet."""

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
from scorestream.infra.spark.process_isolation import DEFAULT_TIMEOUT, Isolation, isolate_failures
from scorestream.wallets.core.decode import Decoded, Reject, decode
from scorestream.wallets.core.scoring import Scorings
from scorestream.wallets.core.wallet_keys import wallet_key
from scorestream.wallets.execution.scoring_task import (
    PARTS,
    scoring_process,
    timestamp_rejects,
    unscorable_rejects,
)

Flags = npt.NDArray[np.bool_]


class DecodedBatch(NamedTuple):
    """Records, and what their messages hold."""

    records: Records
    decoded: Decoded


def split_by_wallet(
    batches: Iterable[DecodedBatch], buckets: int
) -> Iterator[tuple[int, DecodedBatch]]:
    """Split decoded messages into buckets, all of a wallet into the same.

    Yields:
        A bucket's number, and messages of it. Rejected messages are spread over the buckets.
    """
    for batch in batches:
        records, decoded = batch
        # By source, so that a task that is retried splits them alike.
        bucket = (records.partitions + records.offsets) % buckets
        keys = [wallet_key(wallet) for wallet in decoded.wallets]
        bucket[decoded.positions] = [crc32(key.encode()) % buckets for key in keys]
        for number in np.unique(bucket).tolist():
            yield number, filter_batch(batch, bucket == number)


def filter_batch(batch: DecodedBatch, chosen: Flags) -> DecodedBatch:
    """The messages of a batch that are chosen: one flag a record."""
    records, decoded = batch
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
    return DecodedBatch(
        records.filter(chosen),
        Decoded(
            position[decoded.positions[ours]],
            [decoded.wallets[i] for i in np.flatnonzero(ours)],
            decoded.counts[ours],
            rows,
            rejects,
        ),
    )


def concat_batches(batches: Sequence[DecodedBatch]) -> DecodedBatch:
    """The messages of all batches in one."""
    sizes = [len(batch.records) for batch in batches]
    starts = np.cumsum([0, *sizes]).tolist()
    accepted = np.cumsum([0, *(len(batch.decoded.wallets) for batch in batches)]).tolist()
    parts = [batch.decoded for batch in batches]
    rows = [
        part.rows.set_column(0, "message", pa.array(np.asarray(part.rows["message"]) + np.int32(n)))
        for part, n in zip(parts, accepted[:-1], strict=True)
    ]
    rejects = [
        Reject(start + r.position, r.code, r.error, r.wallet_address, r.transaction_count)
        for part, start in zip(parts, starts[:-1], strict=True)
        for r in part.rejects
    ]
    return DecodedBatch(
        Records.concat([batch.records for batch in batches]),
        Decoded(
            np.concatenate([p.positions + s for p, s in zip(parts, starts[:-1], strict=True)]),
            [wallet for part in parts for wallet in part.wallets],
            np.concatenate([part.counts for part in parts]),
            pa.concat_tables(rows),
            rejects,
        ),
    )


def split_wallets(batch: DecodedBatch) -> list[DecodedBatch]:
    """Split a batch into `PARTS`, all messages of a wallet in the same; rejected ones in any."""
    keys = [wallet_key(wallet) for wallet in batch.decoded.wallets]
    wallets, wallet = np.unique(keys, return_inverse=True)
    part = np.zeros(len(batch.records), dtype=np.int64)
    part[batch.decoded.positions] = wallet * PARTS // max(len(wallets), 1)
    return [filter_batch(batch, part == number) for number in np.unique(part)]


def decode_records(
    batches: Iterable[Records],
    scorings: Scorings,
    *,
    isolation: Isolation,
    timeout: float = DEFAULT_TIMEOUT,
) -> Iterator[DecodedBatch]:
    """Decode records; where that is isolated, messages that crash it are found and rejected.

    Args:
        batches: the records.
        scorings: what scores them.
        isolation: when decoding runs in an isolated process.
        timeout: seconds that it may take there.
    """
    if not isolation.is_due:
        yield from (DecodedBatch(records, _decoding(records)()) for records in batches)
        return
    with scoring_process(scorings, timeout) as process:
        for batch in batches:
            done = isolate_failures(
                process,
                _decoding,
                batch,
                lambda records: records.parts(PARTS),
                give_up=_all_unscorable,
            )
            yield from starmap(DecodedBatch, done)


def _decoding(records: Records) -> Callable[[], Decoded]:
    return partial(decode, records.values, refused=timestamp_rejects(records))


def _all_unscorable(records: Records, why: str) -> Decoded:
    return replace(decode([]), rejects=unscorable_rejects(records, why))
