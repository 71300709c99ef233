"""Differences between a table and the declared one: missing columns, or types that conflict.

Columns and fields are only ever added, and may always be null: so an older table gets what it lacks
without a rewrite, and in a newer one our rows are null where we know nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import pyarrow as pa

from scorestream.infra.delta.table import Table

# A new checkpoint of the log after so many commits: each reader replays what came since.
CHECKPOINT_INTERVAL: Final = "20"
# How long a checkpoint names files that were removed; with hundreds of thousands of them it would
# take seconds and gigabytes. `vacuum` does not go by it.
REMOVED_FILES_NAMED: Final = "interval 1 hours"
STATISTICS_COLUMNS: Final = "delta.dataSkippingStatsColumns"


def find_missing_columns(present: pa.Schema, table: Table) -> list[pa.Field]:
    """The columns that an older version's table lacks, or of which it lacks fields.

    Raises:
        ValueError: rows of ours do not fit the table: a column has another type, lacks and always
            was there, or is one of a newer version that must not be null.
    """
    missing = []
    for field in table.columns:
        index = present.get_field_index(field.name)
        if index < 0 and field.name not in table.added_later:
            raise ValueError(f"it has no column {field.name}, its columns are {present.names}")
        if index < 0:
            missing.append(field)
            continue
        found = present.field(index).type
        if not _accepts(found, field.type):
            if field.name not in table.growing or not _can_become(found, field.type):
                raise ValueError(f"its column {field.name} is {found}, not {field.type}")
            missing.append(field)
    for field in present:
        if field.name not in table.columns.names and not field.nullable:
            raise ValueError(f"its column {field.name} is unknown and must not be null")
    return missing


def _accepts(present: pa.DataType, ours: pa.DataType) -> bool:
    """Whether a column takes values of our type; structs may have fields that we do not know."""
    if pa.types.is_struct(ours) and pa.types.is_struct(present):
        known = {field.name: field for field in ours}
        by_name = {field.name: field for field in present}
        return known.keys() <= by_name.keys() and all(
            _accepts(field.type, known[name].type) if name in known else field.nullable
            for name, field in by_name.items()
        )
    if pa.types.is_map(ours) and pa.types.is_map(present):
        return bool(present.key_type == ours.key_type) and _accepts(
            present.item_type, ours.item_type
        )
    return bool(present == ours)


def _can_become(present: pa.DataType, ours: pa.DataType) -> bool:
    """Whether a column takes values of our type once it has got the fields that it lacks."""
    if not (pa.types.is_struct(ours) and pa.types.is_struct(present)):
        return _accepts(present, ours)
    known = {field.name: field.type for field in ours}
    return all(
        _can_become(field.type, known[field.name]) if field.name in known else field.nullable
        for field in present
    )


def table_properties(table: Table) -> dict[str, str]:
    """The properties that a table is made with."""
    properties = {
        "delta.checkpointInterval": CHECKPOINT_INTERVAL,
        "delta.deletedFileRetentionDuration": REMOVED_FILES_NAMED,
    }
    columns = [name for name in table.columns.names if name in table.statistics]
    if columns:
        # Else readers look at the statistics of the first 32 columns only; and delta-rs would show
        # none of what stands behind a struct of which no part is named.
        columns += [part for field in table.columns for part in _first_parts(field)]
        properties[STATISTICS_COLUMNS] = ",".join(columns)
    return properties


def _first_parts(field: pa.Field) -> Iterator[str]:
    """The first number, or else the first part, of each innermost struct below a field."""
    if not pa.types.is_struct(field.type):
        return
    inner = [part for part in field.type if pa.types.is_struct(part.type)]
    leaves = [part for part in field.type if not pa.types.is_nested(part.type)]
    numbers = [part for part in leaves if not pa.types.is_string(part.type)]
    if leaves:
        yield f"{field.name}.{(numbers or leaves)[0].name}"
    for part in inner:
        yield from (f"{field.name}.{path}" for path in _first_parts(part))


def find_missing_properties(present: Mapping[str, str], table: Table) -> dict[str, str]:
    """The properties that an older version's table lacks; what was set otherwise is kept."""
    wanted = table_properties(table)
    missing = {name: value for name, value in wanted.items() if name not in present}
    known = present.get(STATISTICS_COLUMNS, "").split(",")
    added = [name for name in wanted.get(STATISTICS_COLUMNS, "").split(",") if name not in known]
    if STATISTICS_COLUMNS in present and added:
        missing[STATISTICS_COLUMNS] = ",".join([*known, *added])
    return missing
