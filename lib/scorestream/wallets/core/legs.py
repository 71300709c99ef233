"""Legs of transactions: nested, a column for each leg that an action may have; and flat.

Nested as the table `transactions` has them: `token_in`, `token_out`, `token0`, `token1`. Flat as
scores are computed from them: `leg0_usd`, `leg0_symbol`, ... whatever the action.
"""

from __future__ import annotations

from functools import reduce

import pyarrow as pa
import pyarrow.compute as pc

from scorestream.wallets.core import schemas
from scorestream.wallets.core.actions import is_action
from scorestream.wallets.core.rules import FLAT_COLUMNS, FLAT_LEGS, LEG_PARTS, actions_with


def nested_legs(rows: pa.Table) -> dict[str, pa.StructArray]:
    """All leg columns of flat rows.

    Args:
        rows: `HISTORY_ROWS`, `action_code` and `usd_value`.

    Returns:
        By name; a leg that the action does not use is null, one that the message lacked is not.
    """
    return {leg: _nested(rows, prefix, leg) for prefix, legs in FLAT_LEGS.items() for leg in legs}


def _nested(rows: pa.Table, prefix: str, leg: str) -> pa.StructArray:
    used = is_action(rows, *actions_with(leg))
    return pa.StructArray.from_arrays(
        [rows[f"{prefix}_{part.flat}"].combine_chunks() for part in LEG_PARTS],
        fields=list(schemas.LEG),
        mask=pa.array(~used),
    )


def flat_column(rows: pa.Table, name: str) -> pa.ChunkedArray:
    """One of `FLAT_COLUMNS`, of rows that have the leg columns with this part."""
    column = FLAT_COLUMNS[name]
    part, legs = column.part, [rows[leg] for leg in column.legs]
    values = pc.coalesce(*[pc.struct_field(leg, part.nested) for leg in legs])
    if part.unused is None:
        return values
    if not part.nullable:
        return values.fill_null(part.unused)
    unused = reduce(pc.and_, [leg.is_null() for leg in legs])
    return pc.if_else(unused, part.unused, values)
