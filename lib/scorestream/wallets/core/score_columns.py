"""Scores as columns: the schema that declarations stand for, and the columns of a batch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from scorestream.wallets.core import schemas
from scorestream.wallets.core.scorer import (
    Declaration,
    Feature,
    Floats,
    Numbers,
    PartialScore,
    WalletScores,
    union_of_features,
    union_of_partial_scores,
)

# Of each category that a message has: its score, and what that is of.
CATEGORIES: Final = pa.map_(
    pa.string(), pa.struct([("score", pa.float64()), ("transaction_count", pa.int64())])
)


def features_type(features: Iterable[Feature]) -> pa.DataType:
    """The type of the column `features`."""
    return pa.struct([(feature.name, feature.type) for feature in features])


def breakdown_type(partial_scores: Iterable[PartialScore]) -> pa.DataType:
    """The type of the column `breakdown`: for each partial score the points of its parts."""
    return pa.struct(
        [
            (each.name, pa.struct([(part, pa.float64()) for part in each.parts]))
            for each in partial_scores
        ]
    )


def category_schema(declarations: Sequence[Declaration]) -> pa.Schema:
    """The columns of what scorers give, of all that they declare together."""
    features = union_of_features(declarations)
    partial_scores = union_of_partial_scores(declarations)
    return pa.schema(
        [
            *((each.column, pa.float64()) for each in partial_scores),
            ("final_score", pa.float64()),
            ("tags", pa.list_(pa.string())),
            ("features", features_type(features)),
            ("breakdown", breakdown_type(partial_scores)),
        ]
    )


def score_schema(declarations: Sequence[Declaration]) -> pa.Schema:
    """The columns of a score."""
    return pa.schema([("zscore", schemas.ZSCORE), *category_schema(declarations)])


def scored_schema(declarations: Sequence[Declaration]) -> pa.Schema:
    """The columns of a scored message: what it is, its score, and what made that."""
    return pa.schema(
        [
            *schemas.SCORED_MESSAGE,
            *score_schema(declarations),
            ("categories", CATEGORIES),
            ("scoring", pa.string()),
            ("config_hash", pa.string()),
        ]
    )


def score_columns(
    declaration: Declaration, scores: WalletScores
) -> tuple[list[pa.Array], npt.NDArray[np.bool_]]:
    """The columns of `category_schema`, and which wallets have a score: where all is finite."""
    points = [points for parts in scores.parts.values() for points in parts.values()]
    everything = [*scores.features.values(), *points, *scores.partial.values(), scores.final]
    finite = np.asarray(np.isfinite(np.vstack(everything)).all(axis=0))
    columns = [
        *(pa.array(scores.partial[each.name]) for each in declaration.partial_scores),
        pa.array(scores.final),
        scores.tags,
        _struct(features_type(declaration.features), scores.features),
        _breakdown(declaration, scores.parts),
    ]
    return columns, finite


def _breakdown(
    declaration: Declaration, parts: Mapping[str, Mapping[str, Numbers]]
) -> pa.StructArray:
    kind = breakdown_type(declaration.partial_scores)
    columns = [_struct(each.type, parts[each.name]) for each in kind]
    return pa.StructArray.from_arrays(columns, fields=list(kind))


def _struct(kind: pa.DataType, values: Mapping[str, npt.NDArray[np.generic]]) -> pa.StructArray:
    columns = [pa.array(values[field.name], field.type) for field in kind]
    return pa.StructArray.from_arrays(columns, fields=list(kind))


def zscores(scores: Floats) -> pa.Array:
    """Exactly 18 decimals, as Python prints the float: a cast of the double gives other digits."""
    texts = [f"{score:.18f}" for score in scores.tolist()]
    return pa.array(texts, pa.string()).cast(schemas.ZSCORE)


def widen_rows(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """Rows with all columns and fields of a schema, which are null where they lack them."""
    if rows.schema == schema:
        return rows
    columns = [
        widen(rows[field.name].combine_chunks(), field.type)
        if field.name in rows.column_names
        else pa.nulls(len(rows), field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def widen(column: pa.Array, kind: pa.DataType) -> pa.Array:
    """A column as one of a type that has more fields, which are null; other types stay."""
    if not pa.types.is_struct(kind) or column.type == kind:
        return column
    places = {field.name: place for place, field in enumerate(column.type)}
    parts = column.flatten()
    fields = [
        widen(parts[places[field.name]], field.type)
        if field.name in places
        else pa.nulls(len(column), field.type)
        for field in kind
    ]
    return pa.StructArray.from_arrays(fields, fields=list(kind), mask=column.is_null())
