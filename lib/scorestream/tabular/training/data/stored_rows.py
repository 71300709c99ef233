"""Stored training rows of a use case: the Delta table `training/NAME` of the warehouse."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import TableNotFoundError

from scorestream.infra.delta.table import Table, identifiers_anywhere
from scorestream.infra.delta.table_features import read_table_batches
from scorestream.infra.delta.warehouse import Warehouse
from scorestream.infra.errors import InputError
from scorestream.tabular.model.validation import CheckedRows
from scorestream.tabular.training.config.use_case import UseCase
from scorestream.tabular.training.data.hashing import Hashes, row_hashes
from scorestream.tabular.training.data.validation import target_column

FOLDER: Final = "training"


def training_table(use_case: UseCase, labels: str) -> Table:
    """The table of a use case: numbers as doubles, labels as they were, all else as text."""
    checked = {**use_case.columns, **target_column(use_case)}
    types = {n: pa.float64() if c.kind == "number" else pa.string() for n, c in checked.items()}
    if use_case.task == "classification":
        types[use_case.target.column] = pa.type_for_alias(labels)
    columns = list(types.items())
    columns += [(name, pa.string()) for name in use_case.carried]
    schema = pa.schema(columns)
    comment = f"training data of {use_case.name}"
    return Table(f"{FOLDER}/{use_case.name}", schema, comment, identifiers_anywhere(schema))


@dataclass(frozen=True)
class StoredRows:
    """The table with the stored rows of a use case.

    Attributes:
        name: of the table, with its version.
        labels: Arrow's name of their type.
    """

    name: str
    path: str
    labels: str

    @classmethod
    def of(cls, use_case: UseCase, warehouse: Warehouse) -> StoredRows | None:
        """The table as it is now; None if no rows are stored."""
        table = training_table(use_case, "string")
        path = warehouse.path(table)
        try:
            log = DeltaTable(path)
        except TableNotFoundError:
            return None
        schema = pa.schema(log.schema())
        target = schema.get_field_index(use_case.target.column)
        labels = "string" if target < 0 else str(schema.field(target).type)
        return cls(f"{table.name} version {log.version()}", path, labels)


def store_rows(use_case: UseCase, warehouse: Warehouse, checked: CheckedRows, labels: str) -> None:
    """Store good rows; rows that are stored already are not added again.

    Args:
        checked: rows.
        labels: their type, of a table that is not there yet.

    Raises:
        DeltaError: the commit failed, or the table's columns are not those of the use case.
        InputError: a label is of another type than those that are kept.
    """
    stored = StoredRows.of(use_case, warehouse)
    table = training_table(use_case, labels if stored is None else stored.labels)
    warehouse.create_table(table)
    rows = checked.rows.filter(pa.array(~checked.bad)).select(table.columns.names)
    try:
        rows = rows.cast(table.columns)
    except pa.ArrowInvalid as error:
        raise InputError(f"{table.name}: takes no such row: {error}") from None
    known = np.isin(row_hashes(rows), _read_stored_hashes(table, warehouse))
    rows = rows.filter(pa.array(~known))
    if rows.num_rows:
        warehouse.write(table, _to_stored_columns(rows, warehouse.path(table)))


def _to_stored_columns(rows: pa.Table, path: str) -> pa.Table:
    """Add null columns for those that only the table has."""
    for field in pa.schema(DeltaTable(path).schema()):
        if field.name not in rows.column_names:
            rows = rows.append_column(field, pa.nulls(rows.num_rows, field.type))
    return rows


def _read_stored_hashes(table: Table, warehouse: Warehouse) -> Hashes:
    """Read the hashes of the stored rows, batch by batch."""
    batches = read_table_batches(DeltaTable(warehouse.path(table)), table.columns.names)
    hashes = [row_hashes(batch) for batch in batches]
    return np.concatenate([np.empty(0, np.uint64), *hashes])
