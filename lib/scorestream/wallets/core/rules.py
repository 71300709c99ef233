"""The rules that all of wallets' data follows: each is stated here once, as data.

=========================  ========================  =================================
rule                       rendered in Arrow         rendered in SQL (Spark, DuckDB)
=========================  ========================  =================================
wallet of an address       `core.wallet_keys`        `schema.sql_rules.wallet_key`
legs, nested and flat      `core.legs`               `schema.sql_rules.FLAT_COLUMNS`
USD value of an action     `core.actions`            none: reads the stored `usd_value`
row in effect              `core.history`            `schema.sql_rules.row_number`
newest score               none                      `schema.sql_rules.row_number`
=========================  ========================  =================================

`tests/unit/wallets/core/test_rules.py` compares the renderings with each other, row by row.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

# 1. Wallet of an address: an address that is all of this pattern goes by its lower case, any other
# as it is.
HEXADECIMAL: Final = "0[xX][0-9a-fA-F]*"


# 2. Legs and USD value of an action.
@dataclass(frozen=True)
class Action:
    """An action that has a USD value; others have neither value nor legs.

    Attributes:
        name: as messages have it.
        legs: columns of the table `transactions` that hold its first and its second leg.
        usd_value: the legs that are its USD value.
    """

    name: str
    legs: tuple[str, str]
    usd_value: Literal["larger leg", "both legs"]


ACTIONS: Final = (
    Action("deposit", ("token0", "token1"), "both legs"),
    Action("withdraw", ("token0", "token1"), "both legs"),
    Action("swap", ("token_in", "token_out"), "larger leg"),
)
# Column of a leg -> its field in a message.
LEG_FIELDS: Final = {
    "token_in": "tokenIn",
    "token_out": "tokenOut",
    "token0": "token0",
    "token1": "token1",
}


@dataclass(frozen=True)
class LegPart:
    """A part of a leg.

    Attributes:
        field: its name in a message.
        nested: its name in a leg column.
        flat: the end of its name in flat rows: `leg0_usd`.
        unused: its value where the action does not use the leg.
        nullable: whether a leg in use may lack it; else it has the value of an unused one then.
    """

    field: str
    nested: str
    flat: str
    unused: str | float | None
    nullable: bool = True


LEG_PARTS: Final = (
    LegPart("amount", "amount", "amount", unused=None),
    LegPart("amountUSD", "amount_usd", "usd", unused=0.0, nullable=False),
    LegPart("address", "address", "address", unused=None),
    LegPart("symbol", "symbol", "symbol", unused=""),
)


@dataclass(frozen=True)
class FlatColumn:
    """A column of flat rows, such as `leg0_usd`.

    Attributes:
        legs: leg columns that may hold it; at most one of them is not null.
        part: which part of the leg it is.
    """

    legs: tuple[str, ...]
    part: LegPart


# Prefix of flat columns -> the leg columns that may hold the leg.
FLAT_LEGS: Final = {
    f"leg{i}": tuple(dict.fromkeys(action.legs[i] for action in ACTIONS)) for i in range(2)
}
FLAT_COLUMNS: Final = {
    f"{prefix}_{part.flat}": FlatColumn(legs, part)
    for prefix, legs in FLAT_LEGS.items()
    for part in LEG_PARTS
}


def actions_with(leg: str) -> list[str]:
    """The actions that use a leg column."""
    return [action.name for action in ACTIONS if leg in action.legs]


# 3. Row in effect: of all rows of a wallet and document the greatest by these columns, compared
# one after the other; null is less than all values.
SOURCE_ID: Final = ("source_topic", "source_partition", "source_offset")
SOURCE_ORDER: Final = ("source_timestamp", *SOURCE_ID)
ROW_ORDER: Final = (
    # The message that became known last.
    *SOURCE_ORDER,
    # Of one message that has a document twice: what a score is computed from.
    *("timestamp", "action", "pool_id", "leg0_usd", "leg1_usd", "leg0_symbol", "leg1_symbol"),
    # Of rows of the same score: all else, so that every reader takes the same row.
    *("usd_value", "protocol", "pool_name", "caller", "chain_id", "ingested_at"),
    *("leg0_amount", "leg1_amount", "leg0_address", "leg1_address"),
)


def row_order(columns: Iterable[str]) -> tuple[str, ...]:
    """`ROW_ORDER` for rows of these columns only: by the others, such rows are all alike."""
    names = set(columns)
    return tuple(name for name in ROW_ORDER if name in names)


# 4. Newest score: of all scores of a wallet and scoring model the greatest by these columns.
SCORE_ORDER: Final = ("as_of", "source_timestamp", "scored_at", *SOURCE_ID)
