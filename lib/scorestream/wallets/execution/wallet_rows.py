"""Rows of wallets out of tables: in batches of whole wallets, checked, and as histories."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from scorestream.infra.storage.filesystem import filesystem_of
from scorestream.wallets.core import schemas
from scorestream.wallets.core.decode import Decoded, Reject, decode
from scorestream.wallets.core.history import WalletHistory, wallet_history

Ints = npt.NDArray[np.int64]
# So many rows are in a batch, unless one wallet has more.
BATCH_ROWS: Final = 250_000
MIN_ROWS: Final = 100
READ_ROWS: Final = 50_000
# Prefix of the source topic of scores that are of no message: of a wallet at a given moment.
WALLETS_OF: Final = "wallets:"


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
