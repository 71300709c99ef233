"""What must come of each message of the input topic; plain data, whoever collected it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, Final

from scorestream.infra.kafka.producer import Record
from scorestream.wallets.core import schemas
from scorestream.wallets.core.score_columns import scored_schema
from scorestream.wallets.core.scoring import Scoring
from scorestream.wallets.execution.scoring_task import score_records
from scorestream.wallets.scorers.dex_v1.scorer import DexV1
from tools.testkit.golden import (
    SCORED_COLUMNS,
    Golden,
    configured_scoring,
    differences,
    golden_wallets,
    results,
)
from tools.testkit.installation import Input, Offset
from tools.testkit.records import records_of

Row = Mapping[str, Any]
Moment = tuple[bytes | None, int]  # value of a message, and the timestamp of its record
Results = dict[str, dict[Moment, Row]]  # by config_hash

# Registered models are applied behind the core.
FROM_THE_CORE: Final = tuple(
    name for name in SCORED_COLUMNS if name in scored_schema([DexV1.declaration]).names
)
OF_A_REJECT: Final = tuple(name for name in schemas.REJECTED.names if name != "position")
# What a score has of its message alone, whatever else it counts.
OF_AN_INCREMENT: Final = ("wallet_address", "as_of")
BATCH: Final = 1000


@dataclass(frozen=True)
class Expected:
    """What must come of messages, where it is not what `dex-v1` gives for each alone.

    Attributes:
        scorings: of which each score names its own by `config_hash`; none: `dex-v1` of `conf/`.
        unscorable: wallets whose messages may be rejected as `unscorable`.
        increments: messages that carry only what is new. Their scores count what came before, too:
            who expects them compares them. They may have none yet.
        without_history: messages whose transactions are not kept.
        applied: registered models whose values scores may have; which, who expects them compares.
        made_anew: messages whose rows were lost after they were published. Of the results that
            Kafka has of them, only the last one was made when the row was.
    """

    scorings: Sequence[Scoring] = ()
    unscorable: Collection[str] = ()
    increments: Collection[Offset] = ()
    without_history: Collection[Offset] = ()
    applied: Collection[str] = ()
    made_anew: Collection[Offset] = ()

    @cached_property
    def by_hash(self) -> dict[str, Scoring]:
        """The scorings, by `config_hash`."""
        return {each.config_hash: each for each in self.scorings or (configured_scoring(),)}

    def config_hash(self, row: Row) -> str:
        """Of the model that a row names, else of the first."""
        first = next(iter(self.by_hash))
        named: str = row.get("config_hash", first)
        return named if named in self.by_hash else first

    def permits(self, row: Row, message: Input) -> bool:
        """Whether a row may say that scoring its message was more than a process bears."""
        wallet = row["wallet_address"]
        named = result_code(row) == "unscorable" and wallet in self.unscorable
        return named and wallet.encode() in (message.value or b"")

    def is_early(self, row: Row) -> bool:
        """Whether a row may say that its message has no score yet."""
        return result_code(row) == "nothing_yet" and offset_of(row) in self.increments

    def columns(self, row: Row) -> Sequence[str]:
        """What of a row is as the core has it."""
        if result_code(row) != "score":
            return OF_A_REJECT
        return OF_AN_INCREMENT if offset_of(row) in self.increments else FROM_THE_CORE


def core_results(rows: Sequence[tuple[Row, Input]], expected: Expected) -> list[Row]:
    """What the core gives for the message of each row, by the model that the row names.

    Each distinct message is scored once; not at all where it may be unscorable: then the row
    stands for it.
    """
    results: Results = defaultdict(dict)
    for row, message in rows:
        if not expected.permits(row, message):
            results[expected.config_hash(row)][message.moment] = {}
    for name, messages in results.items():
        _score(expected.by_hash[name], messages)
    return [results[expected.config_hash(row)].get(message.moment, row) for row, message in rows]


def _score(scoring: Scoring, messages: dict[Moment, Row]) -> None:
    """Fill in the results."""
    moments = list(messages)
    for start in range(0, len(moments), BATCH):
        some = moments[start : start + BATCH]
        records = records_of([Record(None, value, at) for value, at in some])
        [(scored, _)] = score_records([records], (scoring,), include_transactions=False)
        messages |= zip(some, results(scored), strict=True)


def find_differences(row: Row, message: Input, core: Row, expected: Expected) -> Iterator[str]:
    """What of a row of `scores` or `rejects` is not what must have come of its message.

    Args:
        row: any.
        message: the one that the row names.
        core: what the core gives for the message.
        expected: what may differ.
    """
    if expected.permits(row, message) or expected.is_early(row):
        return
    golden = _golden().get((message.value, message.timestamp // 1000))
    should = "score" if golden else result_code(core)
    if result_code(row) != should:
        yield f"{result_code(row)}, not {should}"
        return
    yield from _unequal(row, core, expected.columns(row))
    if should == "score":
        yield from _wrong_in_score(row, golden, expected)


def _wrong_in_score(row: Row, golden: Golden | None, expected: Expected) -> Iterator[str]:
    named = expected.config_hash(row)
    yield from (
        f"models: {name!r}, which is not applied"
        for name in dict(row["models"])
        if name not in expected.applied
    )
    yield from _unequal(row, {"scoring": expected.by_hash[named].name, "config_hash": named})
    if golden and named == _configured_hash():
        yield from differences(dict(row), golden.expected)


def _unequal(row: Row, other: Row, names: Sequence[str] = ()) -> Iterator[str]:
    for name in names or other:
        if row[name] != other[name]:
            yield f"{name}: {row[name]!r}, not {other[name]!r}"


def result_code(row: Row) -> str:
    """`score`, or the error code of a reject."""
    return str(row.get("error_code", "score"))


def offset_of(row: Row) -> Offset:
    return row["source_partition"], row["source_offset"]


def golden_message(row: Row) -> Input | None:
    """The golden message of a row that is of no topic, by wallet and moment."""
    for golden in _golden().values():
        if (golden.wallet, golden.as_of) == (row["wallet_address"], row["as_of"]):
            return Input(golden.wallet.encode(), golden.value, golden.as_of * 1000)
    return None


@cache
def _configured_hash() -> str:
    return configured_scoring().config_hash


@cache
def _golden() -> dict[tuple[bytes | None, int], Golden]:
    """By their message and the unix second that it speaks of."""
    return {(golden.value, golden.as_of): golden for golden in golden_wallets()}
