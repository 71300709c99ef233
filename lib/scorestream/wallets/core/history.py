"""The history of wallets -> what counted at a moment -> scores.

A history is made of messages that came at different times and may repeat or correct each other. At
a moment (a wallet, `as_of`, and how much of its history was known) those rows count that

1. were known: their message came no later than the moment's own,
2. are the last known of their `document_id`: a later message corrects an earlier one,
3. had happened: their `timestamp` is not after `as_of`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from scorestream.wallets.core import rules, schemas
from scorestream.wallets.core.actions import with_values
from scorestream.wallets.core.decode import Decoded
from scorestream.wallets.core.entries import DEXES_ENTRIES
from scorestream.wallets.core.pipeline import Scored, score_decoded
from scorestream.wallets.core.scoring import Scorings

Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
# So many (moment, row) pairs are expanded at once.
MAX_PAIRS: Final = 1_000_000
# What decides between two rows of a document in one message.
_CONTENT: Final = rules.row_order(schemas.SCORING_ROWS.names)


@dataclass(frozen=True)
class WalletHistory:
    """Rows of wallets, those of a wallet together, in the order in which they became known.

    Attributes:
        rows: `WALLET_ROWS`, `action_code` and `usd_value`.
        wallet: int64[rows], ascending from 0.
        message: int64[rows], ascending from 0: rows of one wallet and source have the same.
        document: int64[rows], a code for each distinct (wallet, document_id).
    """

    rows: pa.Table
    wallet: Ints
    message: Ints
    document: Ints

    @property
    def bounds(self) -> Ints:
        """int64[wallets + 1]: where the rows of each wallet start, and where the last end."""
        return _bounds(self.wallet)

    @property
    def message_bounds(self) -> Ints:
        """int64[messages + 1]: where the rows of each message start, and where the last end."""
        return _bounds(self.message)


@dataclass(frozen=True)
class Moments:
    """N moments at which wallets are scored, those of a wallet together.

    Attributes:
        wallet: int64[n], of the history.
        as_of: int64[n], unix seconds.
        known: int64[n], the first row of the history that was not known yet.
    """

    wallet: Ints
    as_of: Ints
    known: Ints

    def __len__(self) -> int:
        return len(self.wallet)

    def take(self, chosen: Ints) -> Moments:
        """The moments with these indices."""
        return Moments(self.wallet[chosen], self.as_of[chosen], self.known[chosen])


def wallet_history(rows: pa.Table) -> WalletHistory:
    """Rows (`WALLET_ROWS`, in any order) put in order; wallets as they first appear."""
    rows = rows.combine_chunks()
    wallet = _codes(rows["wallet_key"])
    order = _source_order(rows, wallet)
    if not _is_ascending(order):
        rows, wallet = rows.take(pa.array(order)), wallet[order]
    document = _document_codes(rows, wallet)
    message = np.cumsum(_changes(rows, wallet)) - 1
    # A message that has a document twice says nothing about which of the two holds.
    if _has_repeats(message, document):
        order = _content_order(rows, message)
        # All of a message are of one wallet.
        rows, document = rows.take(pa.array(order)), document[order]
    # Once for each row, however many moments it counts at.
    return WalletHistory(with_values(rows), wallet, message, document)


def message_moments(history: WalletHistory) -> Moments:
    """The moment of every message: its own `as_of`, and what was known when it came."""
    starts, ends = history.message_bounds[:-1], history.message_bounds[1:]
    as_of = np.asarray(history.rows["as_of"])
    return Moments(history.wallet[starts], as_of[starts], ends)


def fixed_moments(history: WalletHistory, as_of: Ints) -> Moments:
    """The same moments for each wallet, with all that is known today."""
    wallets = len(history.bounds) - 1
    return Moments(
        np.repeat(np.arange(wallets), len(as_of)),
        np.tile(as_of, wallets),
        np.repeat(history.bounds[1:], len(as_of)),
    )


def score_moments(history: WalletHistory, moments: Moments, scorings: Scorings) -> Iterator[Scored]:
    """Score wallets at moments.

    Args:
        history: the wallets' history.
        moments: what is scored.
        scorings: what scores them, by `dexes` alone.

    Yields:
        Results whose `position` is the moment; a moment at which no row counts is in none.
    """
    for part in _parts(history, moments):
        moment, row = _counting(history, moments, part)
        if len(row) == 0:
            continue
        decoded = _decoded(history, moments, moment, row)
        yield score_decoded(
            {DEXES_ENTRIES: decoded}, moments.as_of, scorings, include_transactions=False
        )


def _parts(history: WalletHistory, moments: Moments) -> Iterator[Ints]:
    """The moments in parts of about `MAX_PAIRS`."""
    pairs = np.cumsum(moments.known - history.bounds[moments.wallet])
    part = pairs // MAX_PAIRS
    yield from np.split(np.arange(len(moments)), np.flatnonzero(np.diff(part)) + 1)


def _counting(history: WalletHistory, moments: Moments, part: Ints) -> tuple[Ints, Ints]:
    """Pairs (moment, row) of the rows that count, ordered by moment."""
    starts = history.bounds[moments.wallet[part]]
    counts = moments.known[part] - starts
    moment = np.repeat(part, counts)
    row = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    row += np.repeat(starts, counts)
    last = _last_of_document(history.document, moment, row)
    moment, row = moment[last], row[last]
    happened = np.asarray(history.rows["timestamp"])[row] <= moments.as_of[moment]
    return moment[happened], row[happened]


def _last_of_document(document: Ints, moment: Ints, row: Ints) -> Flags:
    """Which pairs have the last row of their document that the moment has."""
    last = np.ones(len(row), dtype=np.bool_)
    repeated = np.flatnonzero((np.bincount(document) > 1)[document[row]] if len(row) else row)
    codes = moment[repeated] * (document.max(initial=0) + 1) + document[row[repeated]]
    _, found = np.unique(codes[::-1], return_index=True)
    last[repeated] = False
    last[repeated[len(repeated) - 1 - found]] = True
    return last


def _decoded(history: WalletHistory, moments: Moments, moment: Ints, row: Ints) -> Decoded:
    positions, counts = np.unique(moment, return_counts=True)
    message = np.repeat(np.arange(len(positions), dtype=np.int32), counts)
    names = [name for name in schemas.MODEL_ROWS.names if name != "message"]
    rows = history.rows.select(names).take(pa.array(row))
    # The address as the last message has it.
    last = pa.array(moments.known[positions] - 1)
    return Decoded(
        positions=positions,
        wallets=history.rows["wallet_address"].take(last).to_pylist(),
        counts=counts,
        rows=rows.add_column(0, "message", pa.array(message)),
        rejects=[],
    )


def _source_order(rows: pa.Table, wallet: Ints) -> Ints:
    """The order by wallet and source; rows of one source that lie together stay so."""
    starts = np.flatnonzero(_changes(rows, wallet))
    runs = rows.select(rules.SOURCE_ORDER).take(pa.array(starts))
    keys = [_sortable(runs[name]) for name in reversed(rules.SOURCE_ORDER)]
    order = np.lexsort([*keys, wallet[starts]])
    lengths = np.diff(np.append(starts, rows.num_rows))[order]
    offsets = np.cumsum(lengths) - lengths
    result: Ints = np.arange(rows.num_rows) - np.repeat(offsets - starts[order], lengths)
    return result


def _changes(rows: pa.Table, wallet: Ints) -> Flags:
    """Which rows are of another wallet or source than the row before."""
    changes: Flags = np.diff(wallet, prepend=-1) != 0
    for name in rules.SOURCE_ORDER:
        values = _sortable(rows[name])
        changes[1:] |= values[1:] != values[:-1]
    return changes


def _has_repeats(message: Ints, document: Ints) -> bool:
    """Whether a message has a document twice."""
    again = (np.bincount(document) > 1)[document] if len(document) else document
    codes = message[again] * (document.max(initial=0) + 1) + document[again]
    return len(np.unique(codes)) < len(codes)


def _content_order(rows: pa.Table, message: Ints) -> Ints:
    """The order by message and content."""
    content = [_sortable(rows[name]) for name in reversed(_CONTENT)]
    order: Ints = np.lexsort([*content, message])
    return order


def _document_codes(rows: pa.Table, wallet: Ints) -> Ints:
    ids = _codes(rows["document_id"])
    pairs = wallet * (ids.max(initial=0) + 1) + ids
    return _codes(pa.chunked_array([pa.array(pairs)]))


def _codes(column: pa.ChunkedArray) -> Ints:
    """Codes from 0, in the order in which the values first appear."""
    encoded = column.combine_chunks().dictionary_encode()
    return np.asarray(encoded.indices).astype(np.int64)


def _sortable(column: pa.ChunkedArray) -> npt.NDArray[np.generic]:
    """Numbers that sort as the values do; null before all."""
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.int64())
    if not pa.types.is_string(column.type):
        return np.asarray(column)
    encoded = column.combine_chunks().dictionary_encode()
    rank = np.asarray(pc.rank(encoded.dictionary, tiebreaker="min")).astype(np.int64)
    ranks: Ints = np.append(rank, 0)[np.asarray(encoded.indices.fill_null(len(rank)))]
    return ranks


def _bounds(codes: Ints) -> Ints:
    counts = np.bincount(codes)
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def _is_ascending(order: Ints) -> bool:
    return bool((np.diff(order) == 1).all())
