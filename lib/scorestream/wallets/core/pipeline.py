"""The one scoring function: message values and their moments in, scores and rejects out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from scorestream.wallets.core import schemas
from scorestream.wallets.core.actions import with_values
from scorestream.wallets.core.category_scores import score_message_categories
from scorestream.wallets.core.decode import Decoded, Reject, history_of
from scorestream.wallets.core.entries import DEXES_ENTRIES, decode_entries
from scorestream.wallets.core.score_columns import scored_schema, widen_rows
from scorestream.wallets.core.scorer import EntryType
from scorestream.wallets.core.scoring import Scorings, declarations_of, entry_types_of
from scorestream.wallets.core.wallet_keys import wallet_keys


@dataclass(frozen=True)
class Scored:
    """A scored batch: each message is, for each scoring, one row of `scores` or of `rejects`.

    Attributes:
        scores: rows of `scored_schema` of the scorings.
        rejects: rows of `REJECTED`; what no scoring can score for the same reason is one row.
        transactions: rows of `HISTORY`, those of a scored message together; None if they were not
            asked for.
        scorings: what scored it.
    """

    scores: pa.Table
    rejects: pa.Table
    transactions: pa.Table | None
    scorings: Scorings

    @classmethod
    def without_scores(
        cls, scorings: Scorings, rejects: pa.Table, transactions: pa.Table | None
    ) -> Scored:
        """A batch of which no message has a score."""
        schema = scored_schema(declarations_of(scorings))
        return cls(schema.empty_table(), rejects, transactions, scorings)


def score_messages(
    values: Sequence[bytes | None],
    as_of: npt.NDArray[np.int64],
    scorings: Scorings,
    *,
    include_transactions: bool = True,
    refused: Sequence[Reject] = (),
) -> Scored:
    """Score a batch of messages: decode them, then :func:`score_decoded`.

    Args:
        values: raw message values, None for a record without one.
        as_of: int64, unix seconds of each message.
        scorings: what scores them.
        include_transactions: whether the exploded transactions are returned too.
        refused: rejects of messages that are not looked at.

    Returns:
        Tables whose `position` is the row of the message in `values`; rows are in no order.
    """
    decoded = {
        entry_type: decode_entries(
            entry_type, values, include_transactions=include_transactions, refused=refused
        )
        for entry_type in entry_types_of(scorings)
    }
    return score_decoded(decoded, as_of, scorings, include_transactions=include_transactions)


def score_decoded(
    decoded: Mapping[EntryType, Decoded],
    as_of: npt.NDArray[np.int64],
    scorings: Scorings,
    *,
    include_transactions: bool,
) -> Scored:
    """Score decoded messages.

    1. Values of the transactions, which all scorings go by.
    2. Score: transactions -> features -> scores, all wallets at once, scoring by scoring.
    3. Put the results of all scorings together.

    Args:
        decoded: the entries of the messages that the scorings go by; those of `dexes` as
            `HISTORY_ROWS` if they are returned. Values that they have already are not computed
            again.
        as_of: int64, unix seconds of each message, accepted or not.
        scorings: what scores them.
        include_transactions: whether the exploded transactions of `dexes` are returned too, of
            the messages that any scoring has a score of.
    """
    # 1. Values of the transactions, which all scorings go by.
    dexes = decoded.get(DEXES_ENTRIES)
    if dexes is not None:
        dexes = replace(dexes, rows=with_values(dexes.rows))
        decoded = {**decoded, DEXES_ENTRIES: dexes}
    # 2. Score: transactions -> features -> scores, all wallets at once, scoring by scoring.
    results = [score_message_categories(decoded, as_of, scoring) for scoring in scorings]
    # 3. Put the results of all scorings together.
    schema = scored_schema(declarations_of(scorings))
    scores = pa.concat_tables([widen_rows(found, schema) for found, _ in results])
    rejects = _without_repeats([found for _, found in results], scorings)
    transactions = None
    if include_transactions:
        transactions = schemas.HISTORY.empty_table()
        if dexes is not None:
            scored = np.isin(dexes.positions, np.asarray(scores["position"]))
            transactions = history_rows(dexes, as_of, scored)
    return Scored(scores, reject_rows(rejects, as_of), transactions, scorings)


def _without_repeats(rejects: Sequence[Sequence[Reject]], scorings: Scorings) -> Sequence[Reject]:
    """The rejects of all scorings; what all reject for the same reason once, without a scoring."""
    if len(scorings) == 1:
        return rejects[0]
    found: dict[int, list[Reject]] = defaultdict(list)
    for scoring, some in zip(scorings, rejects, strict=True):
        for reject in some:
            found[reject.position].append(replace(reject, scoring=scoring.name))
    return [each for several in found.values() for each in _merged(several, len(scorings))]


def _merged(rejects: list[Reject], scorings: int) -> list[Reject]:
    """The rejects of one message."""
    reasons = {(reject.code, reject.error) for reject in rejects}
    same = len(rejects) == scorings and len(reasons) == 1
    return [replace(rejects[0], scoring=None)] if same else rejects


def reject_rows(rejects: Sequence[Reject], as_of: npt.NDArray[np.int64]) -> pa.Table:
    """Rejects as rows of `REJECTED`; `as_of` of every message of the batch."""
    positions = np.array([r.position for r in rejects], dtype=np.int64)
    columns = [
        positions,
        [r.wallet_address for r in rejects],
        as_of[positions],
        [r.transaction_count for r in rejects],
        [r.code for r in rejects],
        [r.error for r in rejects],
        [r.category for r in rejects],
        [r.scoring for r in rejects],
    ]
    return pa.Table.from_arrays(
        [pa.array(c, f.type) for c, f in zip(columns, schemas.REJECTED, strict=True)],
        schema=schemas.REJECTED,
    )


def history_rows(
    decoded: Decoded,
    as_of: npt.NDArray[np.int64],
    chosen: npt.NDArray[np.bool_] | None = None,
) -> pa.Table:
    """Rows of `HISTORY`: the transactions of the decoded messages.

    Args:
        decoded: `HISTORY_ROWS` of the messages.
        as_of: int64, unix seconds of each message, accepted or not.
        chosen: bool, of each accepted message whether its transactions are wanted; None: of all.
    """
    history = history_of(decoded)
    message = np.asarray(history["message"])
    positions = decoded.positions[message]
    wallets = pa.array(decoded.wallets, pa.string())
    of_row = history["message"].combine_chunks()
    columns = [
        pa.array(positions),
        wallets.take(of_row),
        pa.array(as_of[positions]),
        wallet_keys(wallets).take(of_row),
        *history.columns[1:],
    ]
    table = pa.Table.from_arrays(columns, schema=schemas.HISTORY)
    if chosen is None or chosen.all():
        return table
    return table.filter(pa.array(chosen[message]))
