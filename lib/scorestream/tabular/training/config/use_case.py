"""Typed configuration of a use case: `conf/models/NAME.yaml`, frozen here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Literal, Self

import sqlglot
from pydantic import Field, model_validator
from sqlglot import exp

from scorestream.infra.config.frozen_model import FrozenModel
from scorestream.tabular.model.config import (
    Candidate,
    Column,
    Count,
    Name,
    Reasons,
    Similarity,
    Task,
    Texts,
)
from scorestream.tabular.training.config.checks import find_problems
from scorestream.tabular.training.config.sections import (
    Drift,
    Guard,
    MetricName,
    Search,
    Share,
    Split,
    Target,
    Thresholds,
    Validation,
)


class UseCase(FrozenModel):
    """All of a use case.

    Attributes:
        data: path or URI of the training data, relative to the configuration file's folder.
        sql: instead, a statement over the warehouse.
        table: instead, a Delta table in the warehouse, for instance `training/wallets`.
        ids: columns that name a row and are no features.
        derived: features computed by SQL expressions over columns and earlier ones.
        candidates: by name.
        blend: names of candidates whose mean is a candidate of its own.
        blending: the same weight for each, or `fitted`: those that are best on rows which the
            members have not learned, in steps of a twentieth.
        baselines: trivial rivals, by name, as SQL expressions over any column of the rows: what
            rows of the same value came to, or for an anomaly the value itself.
        thresholds: what a champion reaches on held-out rows: bounds of metrics by name, and
            whether it beats the baselines.
        guards: metrics, by name, by which a challenger must not lose against the champion, beside
            `search.metric`, by which it has to win. With them candidates and weights of a blend are
            chosen by all of these: by the mean of their losses, each over the best candidate's.
        refit: what is registered was trained on all rows, held-out ones too, after its judgement.
        flag: share of the rows that an anomaly model flags.
        collect_at_most: rows that are trained in one process.
        when_more: train in Spark, or on a sample.
    """

    name: Name
    description: str
    task: Task
    data: str | None = None
    sql: str | None = None
    table: Annotated[str, Field(pattern=r"^\w[\w-]*(/\w[\w-]*)*$")] | None = None
    target: Target
    ids: Texts = ()
    columns: Annotated[Mapping[str, Column], Field(min_length=1)]
    derived: Mapping[str, str] = {}
    validation: Validation = Validation()
    split: Split = Split()
    search: Search
    candidates: Annotated[Mapping[Name, Candidate], Field(min_length=1)]
    blend: Texts = ()
    blending: Literal["mean", "fitted"] = "mean"
    baselines: Mapping[MetricName, str] = {}
    thresholds: Thresholds = Thresholds()
    guards: Mapping[MetricName, Guard] = {}
    refit: bool = True
    reasons: Reasons = Reasons()
    similar: Similarity | None = None
    drift: Drift = Drift()
    flag: Share = 0.05
    collect_at_most: Count = 2_000_000
    when_more: Literal["spark", "sample"] = "spark"

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        """Check what no single field can; problems are joined so that all are told."""
        texts = list(find_problems(self))
        if texts:
            raise ValueError("; ".join(texts))
        return self

    @property
    def features(self) -> tuple[str, ...]:
        """Columns and derived features, in order."""
        return (*self.columns, *self.derived)

    @property
    def carried(self) -> tuple[str, ...]:
        """Columns that are read beside features and target."""
        wanted = [*self.ids, self.split.column, self.search.group, *self._baseline_columns()]
        others = {*self.features, self.target.column, None}
        return tuple(dict.fromkeys(name for name in wanted if name and name not in others))

    def _baseline_columns(self) -> Iterator[str]:
        for sql in self.baselines.values():
            for column in sqlglot.parse_one(sql, read="duckdb").find_all(exp.Column):
                yield column.name
