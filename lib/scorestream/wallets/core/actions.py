"""What an action is worth: its code and its USD value, computed once for all rows of a batch."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Flags = npt.NDArray[np.bool_]

# The code of an action is its place here; that of any other is -1.
_ACTIONS: Final = pa.array(["deposit", "withdraw", "swap"])
_CODE: Final = "action_code"
_VALUE: Final = "usd_value"


def with_values(rows: pa.Table) -> pa.Table:
    """Rows with the columns `action_code` and `usd_value`; as they are if they have these.

    Args:
        rows: exploded transactions, `SCORING_ROWS` or more.

    Returns:
        `usd_value` is float64: of a swap the larger leg, of a deposit or withdraw both together,
        of any other action null.
    """
    if _VALUE in rows.column_names:
        return rows
    code = np.asarray(pc.fill_null(pc.index_in(rows["action"], value_set=_ACTIONS), -1))
    leg0, leg1 = np.asarray(rows["leg0_usd"]), np.asarray(rows["leg1_usd"])
    with np.errstate(over="ignore"):
        usd = np.where(code == 2, np.maximum(leg0, leg1), leg0 + leg1)
    rows = rows.append_column(_CODE, pa.array(code))
    return rows.append_column(_VALUE, pa.array(usd, mask=code < 0))


def action_flags(rows: pa.Table) -> tuple[Flags, Flags, Flags]:
    """Which rows (of :func:`with_values`) are deposits, withdraws, and swaps."""
    code = np.asarray(rows[_CODE])
    return code == 0, code == 1, code == 2
