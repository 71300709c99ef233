"""A table that is too large for one process, read by Spark; other trainings do not load Spark."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import structlog

from scorestream.infra.config.settings import Settings
from scorestream.infra.errors import TrainingError
from scorestream.infra.storage.filesystem import as_uri, find_files
from scorestream.tabular.model.families import FAMILIES
from scorestream.tabular.training.config.use_case import UseCase
from scorestream.tabular.training.data.ingest import spark_format

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

log = structlog.get_logger()

_SAMPLING: Final = 1_000_000


@dataclass(frozen=True)
class LargeTable:
    """A table that Spark reads."""

    spark: SparkSession
    path: str

    @classmethod
    def of(cls, path: str, settings: Settings) -> LargeTable:
        """A table at a path or URI."""
        from scorestream.infra.spark.session import build_session  # noqa: PLC0415

        return cls(build_session("train_model", settings), path)

    @property
    def rows(self) -> DataFrame:
        """Its rows; those of CSV as text."""
        form, uri = spark_format(self.path), as_uri(self.path)
        if form == "csv":
            from scorestream.infra.spark.csv_reader import csv_rows  # noqa: PLC0415

            return csv_rows(self.spark, find_files(uri), uri, nulls=False)
        return self.spark.read.format(form).load(uri)

    def sample(self, most: int) -> pa.Table:
        """At most about so many rows, chosen by their content."""
        from pyspark.sql import functions as F  # noqa: PLC0415

        from scorestream.infra.spark.tasks import input_errors  # noqa: PLC0415

        rows = self.rows
        with input_errors():
            share = min(1.0, most / max(rows.count(), 1))
            log.info("sampling", source=self.path, share=round(share, 6))
            place = F.pmod(F.xxhash64(*rows.columns), F.lit(_SAMPLING))
            chosen = rows.where(place < int(share * _SAMPLING))
            return pa.table(chosen.toArrow()).combine_chunks()


def refuse_unfit(use_case: UseCase) -> None:
    """Refuse options that need all rows in one process.

    Raises:
        TrainingError: the split looks at other rows, or no family learns in Spark.
    """
    if use_case.split.by != "random":
        raise TrainingError(
            f"more than {use_case.collect_at_most:,} rows: split.by must be random, which looks at "
            "one row at a time; or raise collect_at_most"
        )
    if not any(can_learn_in_spark(use_case, name) for name in use_case.candidates):
        raise TrainingError(
            f"more than {use_case.collect_at_most:,} rows: no candidate learns in Spark: add one "
            "of family xgboost, without over and weigh; or raise collect_at_most"
        )


def can_learn_in_spark(use_case: UseCase, name: str) -> bool:
    """Whether a candidate can be trained in Spark."""
    candidate = use_case.candidates.get(name)
    return (
        candidate is not None
        and candidate.over is None
        and not candidate.weigh
        and FAMILIES[candidate.family].distributed is not None
    )
