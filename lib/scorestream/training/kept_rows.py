"""The training data of a use case as a Delta table that grows: `training/NAME` in the warehouse."""

from __future__ import annotations

from typing import Final

import numpy as np
import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import TableNotFoundError

from scorestream.io.delta.warehouse import Warehouse, arrow_dataset
from scorestream.tables import Table
from scorestream.training.config import UseCase
from scorestream.training.hashing import row_hashes
from scorestream.training.validation import Checked, target_column

FOLDER: Final = "training"


def training_table(use_case: UseCase) -> Table:
    """The table of a use case: numbers as doubles, all else as text."""
    checked = {**use_case.columns, **target_column(use_case)}
    columns = [(n, pa.float64() if c.kind == "number" else pa.string()) for n, c in checked.items()]
    columns += [(name, pa.string()) for name in use_case.carried]
    comment = f"training data of {use_case.name}"
    return Table(f"{FOLDER}/{use_case.name}", pa.schema(columns), comment)


def kept_rows(use_case: UseCase, warehouse: Warehouse) -> tuple[pa.Table, int] | None:
    """The rows that are kept and the table's version; None where none are."""
    table = training_table(use_case)
    try:
        log = DeltaTable(warehouse.path(table))
    except TableNotFoundError:
        return None
    return arrow_dataset(log).to_table().select(table.columns.names), int(log.version())


def keep_rows(use_case: UseCase, warehouse: Warehouse, checked: Checked) -> int:
    """Add the good ones of checked rows; those that are kept already are not added again.

    Returns:
        How many were added.

    Raises:
        DeltaError: the commit failed, or the table's columns are not those of the use case.
    """
    table = training_table(use_case)
    warehouse.create_table(table)
    rows = checked.rows.filter(pa.array(~checked.bad))
    rows = rows.select(table.columns.names).cast(table.columns)
    kept = kept_rows(use_case, warehouse)
    if kept is not None:
        known = np.isin(row_hashes(rows), row_hashes(kept[0]))
        rows = rows.filter(pa.array(~known))
    if rows.num_rows:
        warehouse.write(table, rows)
    return int(rows.num_rows)
