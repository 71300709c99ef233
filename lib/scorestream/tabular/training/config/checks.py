"""Consistency checks between several keys of a use case."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from scorestream.tabular.model.config import WRITTEN_COLUMNS, Candidate, Encoding
from scorestream.tabular.model.families import FAMILIES
from scorestream.tabular.training.metrics import METRICS

if TYPE_CHECKING:
    from scorestream.tabular.training.config.use_case import UseCase


def find_problems(use_case: UseCase) -> Iterator[str]:
    """Find what is wrong with a use case; each problem begins with the path of its key."""
    yield from _source_problems(use_case)
    yield from _column_problems(use_case)
    yield from _target_problems(use_case)
    yield from _derived_problems(use_case)
    yield from _baseline_problems(use_case)
    yield from _metric_problems(use_case)
    yield from _candidate_problems(use_case)
    yield from _reason_problems(use_case)


def _baseline_problems(use_case: UseCase) -> Iterator[str]:
    if use_case.thresholds.beats_baselines and not use_case.baselines:
        yield "thresholds.beats_baselines: there are no baselines"
    for name, sql in use_case.baselines.items():
        try:
            parsed = sqlglot.parse_one(sql, read="duckdb")
        except SqlglotError as error:
            yield f"baselines.{name}: {str(error).splitlines()[0]}"
            continue
        if parsed.find(exp.Query):
            yield f"baselines.{name}: must be an expression, not a query"
        if use_case.target.column in {column.name for column in parsed.find_all(exp.Column)}:
            yield f"baselines.{name}: must not know the target"


def _source_problems(use_case: UseCase) -> Iterator[str]:
    if sum(source is not None for source in (use_case.data, use_case.sql, use_case.table)) > 1:
        yield "data, sql, table: give one of them"


def _column_problems(use_case: UseCase) -> Iterator[str]:
    others = [use_case.target.column, *use_case.ids]
    for name in (*others, *use_case.derived):
        if name in use_case.columns:
            yield f"columns.{name}: is a target, an id or a derived feature"
    for name in (*use_case.columns, *use_case.derived):
        if name in WRITTEN_COLUMNS:
            yield f"columns.{name}: is the name of a column that results have"
    if use_case.similar:
        for name in (*use_case.similar.same, use_case.similar.nearest):
            if name not in use_case.columns:
                yield f"similar: {name!r} is no column"


def _target_problems(use_case: UseCase) -> Iterator[str]:
    if use_case.task != "classification" and (use_case.target.labels or use_case.target.positive):
        yield "target: labels and positive are those of a classification"
    if use_case.task != "anomaly" and use_case.target.anomalous:
        yield "target.anomalous: is that of an anomaly"
    for key in ("log", "bounded"):
        if use_case.task != "regression" and getattr(use_case.target, key):
            yield f"target.{key}: is for regressions"
    if use_case.target.positive and use_case.target.positive not in (
        use_case.target.labels or (use_case.target.positive,)
    ):
        yield f"target.positive: {use_case.target.positive!r} is none of the labels"


def _derived_problems(use_case: UseCase) -> Iterator[str]:
    known = set(use_case.columns)
    for name, sql in use_case.derived.items():
        try:
            parsed = sqlglot.parse_one(sql, read="duckdb")
        except SqlglotError as error:
            yield f"derived.{name}: {str(error).splitlines()[0]}"
            continue
        used = {column.name for column in parsed.find_all(exp.Column)}
        for unknown in sorted(used - known):
            yield f"derived.{name}: {unknown!r} is no column or earlier derived feature"
        if parsed.find(exp.Query):
            yield f"derived.{name}: must be an expression, not a query"
        known.add(name)


def _metric_problems(use_case: UseCase) -> Iterator[str]:
    known = [metric.name for metric in METRICS[use_case.task]]
    named = {f"thresholds.{name}": name for name in use_case.thresholds.bounds}
    named |= {f"guards.{name}": name for name in use_case.guards}
    if use_case.search.metric in use_case.guards:
        yield f"guards.{use_case.search.metric}: is search.metric, by which a challenger has to win"
    for path, name in (("search.metric", use_case.search.metric), *named.items()):
        if name not in known:
            yield f"{path}: {name!r} is none of {', '.join(known)}"


def _candidate_problems(use_case: UseCase) -> Iterator[str]:
    if use_case.blending == "fitted" and len(use_case.blend) == 1:
        yield "blending: a single member (blend) has nothing to be weighed against"
    for name in use_case.blend:
        if name not in use_case.candidates:
            yield f"blend: {name!r} is no candidate"
    for name, candidate in use_case.candidates.items():
        for depth, layer in enumerate(candidate.layers):
            path = f"candidates.{name}{'.over' * depth}"
            yield from _layer_problems(use_case, path, layer)
            if layer.weigh and use_case.task != "regression":
                yield f"{path}.weigh: is for regressions"
            if depth and layer.space:
                yield f"{path}.space: what is below another is not searched: give params"
        if candidate.over is not None and use_case.task != "regression":
            yield f"candidates.{name}.over: is for regressions"


def _reason_problems(use_case: UseCase) -> Iterator[str]:
    for name in use_case.reasons.texts:
        if name not in use_case.features:
            yield f"reasons.texts: {name!r} is no column or derived feature"


def _layer_problems(use_case: UseCase, path: str, layer: Candidate) -> Iterator[str]:
    family = FAMILIES.get(layer.family)
    if family is None:
        yield f"{path}.family: {layer.family!r} is none of {', '.join(FAMILIES)}"
    elif use_case.task not in family.tasks:
        yield f"{path}.family: {layer.family} cannot learn a {use_case.task}"
    for key, names in (("features", layer.features or ()), ("encode", layer.encode)):
        for feature in names:
            if feature not in use_case.features:
                yield f"{path}.{key}: {feature!r} is no column or derived feature"
    for feature, encoding in layer.encode.items():
        yield from _encoding_problems(use_case, f"{path}.encode.{feature}", feature, encoding)


def _encoding_problems(
    use_case: UseCase, path: str, feature: str, encoding: Encoding
) -> Iterator[str]:
    column = use_case.columns.get(feature)
    kind = column.kind if column else "number"
    possible = {
        "number": ("as_is", "scaled", "ramps"),
        "ordinal": ("as_is", "steps", "one_hot"),
        "category": ("one_hot",),
    }[kind]
    if encoding.to not in possible:
        yield f"{path}.to: a {kind} is encoded to {' or '.join(possible)}"
    if encoding.log and kind != "number":
        yield f"{path}.log: only numbers have one"
