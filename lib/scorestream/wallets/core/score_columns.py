"""Scores as columns: the schema that a declaration stands for, and the columns of a batch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

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


def score_schema(declaration: Declaration) -> pa.Schema:
    """The columns of a score."""
    return pa.schema(
        [
            ("zscore", schemas.ZSCORE),
            *((each.column, pa.float64()) for each in declaration.partial_scores),
            ("final_score", pa.float64()),
            ("tags", pa.list_(pa.string())),
            ("features", features_type(declaration.features)),
            ("breakdown", breakdown_type(declaration.partial_scores)),
        ]
    )


def scored_schema(declaration: Declaration) -> pa.Schema:
    """The columns of a scored message: what it is, and its score."""
    return pa.schema([*schemas.SCORED_MESSAGE, *score_schema(declaration)])


def score_columns(
    declaration: Declaration, scores: WalletScores
) -> tuple[list[pa.Array], npt.NDArray[np.bool_]]:
    """The columns of `score_schema`, and which wallets have a score: where all of it is finite."""
    points = [points for parts in scores.parts.values() for points in parts.values()]
    everything = [*scores.features.values(), *points, *scores.partial.values(), scores.final]
    finite = np.asarray(np.isfinite(np.vstack(everything)).all(axis=0))
    columns = [
        _decimals(scores.final, finite),
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


def _decimals(scores: Floats, finite: npt.NDArray[np.bool_]) -> pa.Array:
    """Exactly 18 decimals, as Python prints the float: a cast of the double gives other digits."""
    pairs = zip(scores.tolist(), finite.tolist(), strict=True)
    texts = [f"{score:.18f}" if ok else None for score, ok in pairs]
    return pa.array(texts, pa.string()).cast(schemas.ZSCORE)


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
