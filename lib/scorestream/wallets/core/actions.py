"""The code and the USD value of transactions, computed once for all rows of a batch."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from scorestream.wallets.core.rules import ACTIONS

Flags = npt.NDArray[np.bool_]

_CODE: Final = "action_code"
_VALUE: Final = "usd_value"
VALUES: Final = (_CODE, _VALUE)
# The code of an action is its place here; that of any other is -1.
_NAMES: Final = [action.name for action in ACTIONS]
# By code; -1, which is the last, is of all others.
_IS_LARGER_LEG: Final = np.array([*(a.usd_value == "larger leg" for a in ACTIONS), False])


def with_values(rows: pa.Table) -> pa.Table:
    """Rows with the columns `action_code` and `usd_value`; they keep those that they have.

    Args:
        rows: flat transactions, `SCORING_ROWS` or more. With a `usd_value`, they need no USD of
            legs.

    Returns:
        `usd_value` is float64, as `rules.ACTIONS` states it; null for any other action.
    """
    if _CODE not in rows.column_names:
        code = pc.fill_null(pc.index_in(rows["action"], value_set=pa.array(_NAMES)), -1)
        rows = rows.append_column(_CODE, code)
    if _VALUE not in rows.column_names:
        rows = rows.append_column(_VALUE, _usd_values(rows))
    return rows


def _usd_values(rows: pa.Table) -> pa.Array:
    code = np.asarray(rows[_CODE])
    leg0, leg1 = np.asarray(rows["leg0_usd"]), np.asarray(rows["leg1_usd"])
    with np.errstate(over="ignore"):
        usd = np.where(_IS_LARGER_LEG.take(code, mode="wrap"), np.maximum(leg0, leg1), leg0 + leg1)
    return pa.array(usd, mask=code < 0)


def is_action(rows: pa.Table, *names: str) -> Flags:
    """Which rows (of :func:`with_values`) are of one of these actions."""
    wanted = np.array([*(name in names for name in _NAMES), False])
    flags: Flags = wanted.take(np.asarray(rows[_CODE]), mode="wrap")
    return flags
