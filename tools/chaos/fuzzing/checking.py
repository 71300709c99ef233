"""What must hold of every batch of messages, whatever is in them.

A batch is scored behind a golden message, whose score is known to the last digit: nothing that
comes beside it may change it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from confluent_kafka import TIMESTAMP_CREATE_TIME, Message

from scorestream.infra.kafka.consumer import gather_batches
from scorestream.infra.kafka.records import Records
from scorestream.infra.times import MAX_SECONDS, MIN_SECONDS
from scorestream.wallets.core import decode as decoding
from scorestream.wallets.core import schemas
from scorestream.wallets.core.decode import Decoded, decode
from scorestream.wallets.core.messages import MAX_WALLET_CHARACTERS
from scorestream.wallets.core.pipeline import Scored, score_messages
from scorestream.wallets.core.scoring import Scoring
from scorestream.wallets.core.wallet_keys import wallet_key
from scorestream.wallets.execution.decoded_batch import DecodedBatch
from scorestream.wallets.execution.incremental import score_increments
from scorestream.wallets.execution.result_messages import failure_records, success_records
from scorestream.wallets.execution.scoring_task import timestamp_rejects
from scorestream.wallets.execution.table_rows import BatchFacts, table_rows
from scorestream.wallets.schema.tables import BATCH_TABLES, REJECTS, SCORES
from tools.chaos.fuzzing.records import Headers
from tools.testkit.golden import Golden, differences, golden_wallets
from tools.testkit.message_schemas import validator

SCORED: Final = "scored"
CODES: Final = frozenset(
    {
        "null_value",
        "invalid_utf8",
        "invalid_json",
        "too_deep",
        "missing_field",
        "invalid_type",
        "invalid_wallet_address",
        "invalid_timestamp",
        "invalid_amount",
        "no_transactions",
        "non_finite_result",
    }
)
MAX_ERROR_CHARACTERS: Final = 400
MAX_AMOUNT_CHARACTERS: Final = 78
HIGHEST_SCORES: Final = {"lp_score": 1000.0, "swap_score": 800.0, "final_score": 920.0}
# Whether fields can be negative: only what goes by the time between a deposit and `as_of`.
_SIGNED: Final = frozenset({"avg_hold_time_days", "holding_score", "lp_score", "final_score"})
_PARTICULARS: Final = re.compile(r"\d+|(?<= is ).*| at byte.*")
_STARTED_AT: Final = 1_767_323_045.0


class Broken(Exception):
    """Something that must hold of every message does not."""


@dataclass(frozen=True)
class Outcome:
    """What became of a message: `scored`, or the code and text of its reject."""

    code: str
    error: str = ""

    @property
    def kind(self) -> str:
        """The code and text without what differs from message to message."""
        return f"{self.code} {_PARTICULARS.sub('', self.error)}"


@dataclass(frozen=True)
class HostileMessage:
    """A message value, and what its record has besides; the timestamp in unix milliseconds."""

    value: bytes
    timestamp: int = 1_623_715_200_000
    key: bytes | None = b"key"
    headers: Headers = ()

    def to_message(self, offset: int) -> Message:
        """As the client hands it out."""
        headers: list[tuple[str, str | bytes | None]] = [
            (name.decode(errors="replace"), value) for name, value in self.headers
        ]
        stamp = (TIMESTAMP_CREATE_TIME, self.timestamp)
        return Message("in", 0, offset, self.key, self.value, headers, timestamp=stamp)


class Checker:
    """Checks batches of messages with one scoring model."""

    def __init__(self, scoring: Scoring) -> None:
        golden = min(golden_wallets(), key=_distance)
        self._model = scoring
        self._golden = HostileMessage(golden.value, golden.as_of * 1000)
        self._facts = BatchFacts("fuzz", 0, _STARTED_AT, code_version="0")
        scored = self.scored([self._golden])[1]
        self._expected = _of_position(scored, 0)
        wrong = differences(scored.scores.to_pylist()[0], golden.expected)
        _require(not wrong, f"the golden message alone has another score: {wrong}")

    def check(self, messages: Sequence[HostileMessage], *, thorough: bool = True) -> list[Outcome]:
        """Score messages as one batch, and check all that is promised.

        Args:
            messages: what to score, at least one; the first is scored alone as well.
            thorough: whether they are scored as increments as well, and one result of each kind is
                held against its JSON Schema.

        Raises:
            Broken: what does not hold.
        """
        records, scored = self.scored([self._golden, *messages])
        _check_positions(scored, len(records))
        _require(
            _of_position(scored, 0) == self._expected, "the golden message's score has changed"
        )
        _check_scores(scored.scores)
        _check_rejects(scored.rejects)
        _check_history(scored)
        _check_moments(scored, records)
        self._check_rows(scored, records, thorough=thorough)
        _check_parsers(records.values)
        alone = self.scored(messages[:1])[1]
        _require(
            _of_position(alone, 0) == _of_position(scored, 1), "a message alone has another result"
        )
        if thorough:
            self._check_increments(records)
        return _outcomes(scored, len(records))[1:]

    def scored(self, messages: Sequence[HostileMessage]) -> tuple[Records, Scored]:
        """Messages as records, and what the core makes of them."""
        fetched = [message.to_message(offset) for offset, message in enumerate(messages)]
        records = Records.concat(list(gather_batches(fetched, "in")))
        refused = timestamp_rejects(records)
        return records, score_messages(
            records.values, records.as_of, (self._model,), refused=refused
        )

    def _check_rows(self, scored: Scored, records: Records, *, thorough: bool) -> None:
        """Rows of the tables are as declared; Kafka messages are JSON and as the schemas say."""
        rows = table_rows(scored, records, self._facts)
        for table in BATCH_TABLES:
            rows[table].validate(full=True)
            _require(rows[table].schema == table.columns, f"{table.name} has other columns")
        for row in zip(*(rows[REJECTS][n].to_pylist() for n in _RAW), strict=True):
            _require(
                row[1] == records.values[row[0]], "a reject has another value than its message"
            )
        published = (
            ("wallet-scores-success", success_records(rows[SCORES]), rows[SCORES].num_rows),
            ("wallet-scores-failure", failure_records(rows[REJECTS]), rows[REJECTS].num_rows),
        )
        for topic, results, count in published:
            values = [
                json.loads(result.value or b"", parse_constant=_refuse_constant)
                for result in results
            ]
            _require(len(values) == count, f"{count} rows gave {len(values)} messages")
            for value in values[-1:] if thorough else []:
                wrong = [error.message for error in validator(topic).iter_errors(value)]
                _require(not wrong, f"{topic}: {wrong}")

    def _check_increments(self, records: Records) -> None:
        """With `WALLET_MESSAGES=incremental` and an empty store, each has one result as well."""
        empty = schemas.WALLET_ROWS.empty_table()
        piece = DecodedBatch(records, decode(records.values, refused=timestamp_rejects(records)))
        done = score_increments(piece, lambda _: empty, (self._model,)).scored
        _check_positions(done, len(records))
        _check_scores(done.scores)
        _check_rejects(done.rejects, CODES | {"nothing_yet"})
        _check_history(done, exact=False)


_RAW: Final = ("source_offset", "value")


def _distance(golden: Golden) -> tuple[bool, int]:
    """Shortest of those with a score for both deposits and swaps is the first."""
    features = golden.expected["features"]
    return not (features["num_deposits"] and features["num_swaps"]), len(golden.value)


def _require(holds: object, otherwise: str) -> None:
    if not holds:
        raise Broken(otherwise)


def _refuse_constant(name: str) -> None:
    raise Broken(f"a result is not JSON: {name}")


def _of_position(scored: Scored, position: int) -> list[pa.Table]:
    """The rows of one message, without its position."""
    return [
        table.filter(pc.equal(table["position"], position)).drop_columns(["position"])
        for table in (scored.scores, scored.rejects, scored.transactions)
        if table is not None
    ]


def _check_positions(scored: Scored, messages: int) -> None:
    positions = [*scored.scores["position"].to_pylist(), *scored.rejects["position"].to_pylist()]
    _require(
        sorted(positions) == list(range(messages)),
        f"{messages} messages have results at the positions {sorted(positions)}",
    )


def _check_scores(scores: pa.Table) -> None:
    for address, key in zip(*(scores[n].to_pylist() for n in _ADDRESS), strict=True):
        _require(1 <= len(address) <= MAX_WALLET_CHARACTERS, f"address {address!r} was scored")
        _require(key == wallet_key(address), f"{address!r} has the key {key!r}")
    finals = scores["final_score"].to_pylist()
    for text, final in zip(scores["zscore"].to_pylist(), finals, strict=True):
        _require(format(text, "f") == f"{final:.18f}", f"zscore {text} is not {final:.18f}")
    for name, numbers in _numbers(scores).items():
        _require(np.isfinite(numbers).all(), f"{name} is not finite")
        highest = HIGHEST_SCORES.get(name, np.inf)
        _require((numbers <= highest).all(), f"{name} is above {highest}")
        _require(name in _SIGNED or (numbers >= 0).all(), f"{name} is negative")


_ADDRESS: Final = ("wallet_address", "wallet_key")


def _numbers(table: pa.Table) -> dict[str, np.ndarray[Any, np.dtype[np.float64]]]:
    """All columns of numbers but `as_of` and `zscore`, those within structs too, by name."""
    names = ("transaction_count", *HIGHEST_SCORES, "features", "breakdown")
    flat = table.select(names).flatten().flatten().flatten()
    return {name.rpartition(".")[2]: np.asarray(flat[name]) for name in flat.column_names}


def _check_rejects(rejects: pa.Table, codes: frozenset[str] = CODES) -> None:
    for row in rejects.to_pylist():
        code, error, wallet = row["error_code"], row["error"], row["wallet_address"]
        _require(code in codes, f"the error code {code} is not documented")
        _require(0 < len(error) < MAX_ERROR_CHARACTERS, f"an error of {len(error)} characters")
        _require(error.isprintable(), f"an error has control characters: {error!r}")
        _require(len(wallet or "") <= MAX_WALLET_CHARACTERS, f"a reject has the wallet {wallet!r}")
        _require(row["transaction_count"] >= 0, "a reject counts less than no transactions")


def _check_moments(scored: Scored, records: Records) -> None:
    """Whatever timestamps records have: no score is of one that is no moment."""
    dated = records.has_moment[np.asarray(scored.scores["position"])]
    _require(dated.all(), "a record whose timestamp is no moment has a score")
    for table in (scored.scores, scored.rejects):
        moments = np.asarray(table["as_of"])
        within = (moments >= MIN_SECONDS) & (moments <= MAX_SECONDS)
        _require(within.all(), "an as_of that no calendar has")


def _check_history(scored: Scored, *, exact: bool = True) -> None:
    """Each score has its transactions, and these hold what the table can hold."""
    history = scored.transactions
    if history is None:
        raise Broken("there is no history")
    counts = np.bincount(np.asarray(history["position"]), minlength=1)
    scores = scored.scores
    for position, count in zip(*(scores[n].to_pylist() for n in _COUNT), strict=True):
        row_count = counts[position] if position < len(counts) else 0
        _require(
            row_count == count if exact else row_count >= 1,
            f"{row_count} rows for a score of {count}",
        )
    seconds = np.asarray(history["timestamp"])
    _require(((seconds >= MIN_SECONDS) & (seconds <= MAX_SECONDS)).all(), "a time is off")
    for name in ("token0", "token1", "token_in", "token_out"):
        amounts = pc.struct_field(history[name], "amount").drop_null().to_pylist()
        wrong = [a for a in amounts if not a.isdigit() or len(a) > MAX_AMOUNT_CHARACTERS]
        _require(not wrong, f"{name} has the amounts {wrong[:3]}")


_COUNT: Final = ("position", "transaction_count")


def _check_parsers(values: Sequence[bytes | None]) -> None:
    """The fast and the exact parser read every message alike."""
    with patch.object(decoding, "parse_fast", lambda _: None):
        exact = decode(values)
    fast = decode(values)
    _require(_describe(fast) == _describe(exact), "the two parsers do not reject alike")
    _require(
        _sort_by_message(fast).equals(_sort_by_message(exact)), "the two parsers do not read alike"
    )


def _describe(decoded: Decoded) -> dict[int, object]:
    accepted = zip(decoded.wallets, decoded.counts.tolist(), strict=True)
    by_position: dict[int, object] = dict(zip(decoded.positions.tolist(), accepted, strict=True))
    return by_position | {reject.position: reject for reject in decoded.rejects}


def _sort_by_message(decoded: Decoded) -> pa.Table:
    """The rows in the order of their messages in the batch."""
    positions = decoded.positions[np.asarray(decoded.rows["message"])]
    rows = decoded.rows.set_column(0, "message", pa.array(positions))
    return rows.take(pa.array(np.argsort(positions, kind="stable")))


def _outcomes(scored: Scored, messages: int) -> list[Outcome]:
    rejects = (scored.rejects[n].to_pylist() for n in ("position", "error_code", "error"))
    by_position = {
        position: Outcome(code, error) for position, code, error in zip(*rejects, strict=True)
    }
    return [by_position.get(position, Outcome(SCORED)) for position in range(messages)]
