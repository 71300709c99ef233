"""More rows than one process holds: searched on a sample, learned in Spark from all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import pyarrow as pa
import structlog
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from scorestream.errors import TrainingError
from scorestream.io.filesystem import as_uri
from scorestream.session import build_session
from scorestream.settings import Settings
from scorestream.training.config import UseCase
from scorestream.training.derived import with_derived
from scorestream.training.families import FAMILIES, Learning
from scorestream.training.ingest import spark_format
from scorestream.training.learning import Learner, examples_of
from scorestream.training.model import Card, Part, TabularModel
from scorestream.training.preprocessing import Preparation
from scorestream.training.search import Found
from scorestream.training.splitting import place_of
from scorestream.training.validation import check_training

log = structlog.get_logger()

_ENCODED: Final = "features array<float>, label float"
_SAMPLING: Final = 1_000_000


@dataclass(frozen=True)
class LargeTable:
    """A table that Spark reads."""

    spark: SparkSession
    path: str

    @classmethod
    def of(cls, path: str, settings: Settings) -> LargeTable:
        """A table at a path or URI."""
        return cls(build_session("train_model", settings), path)

    @property
    def rows(self) -> DataFrame:
        """Its rows; those of CSV as text."""
        reader = self.spark.read.options(header="true", escape='"', multiLine="true")
        return reader.format(spark_format(self.path)).load(as_uri(self.path))

    def sample(self, most: int) -> pa.Table:
        """At most about so many rows, chosen by their content."""
        rows = self.rows
        share = min(1.0, most / max(rows.count(), 1))
        log.info("sampling", source=self.path, share=round(share, 6))
        place = F.pmod(F.xxhash64(*rows.columns), F.lit(_SAMPLING))
        chosen = rows.where(place < int(share * _SAMPLING))
        return pa.table(chosen.toArrow()).combine_chunks()


def refuse_unfit(use_case: UseCase) -> None:
    """Refuse what only rows in one process allow.

    Raises:
        TrainingError: the split looks at other rows, or no family learns in Spark.
    """
    if use_case.split.by != "random":
        raise TrainingError(
            f"more than {use_case.collect_at_most:,} rows: split.by must be random, which looks at "
            "one row at a time; or raise collect_at_most"
        )
    if not any(learns_in_spark(use_case, name) for name in use_case.candidates):
        raise TrainingError(
            f"more than {use_case.collect_at_most:,} rows: no candidate learns in Spark: add one "
            "of family xgboost, without over; or raise collect_at_most"
        )


def learns_in_spark(use_case: UseCase, name: str) -> bool:
    """Whether a candidate can learn from rows that no process holds."""
    candidate = use_case.candidates.get(name)
    return (
        candidate is not None
        and candidate.over is None
        and FAMILIES[candidate.family].distributed is not None
    )


def learn_in_spark(
    use_case: UseCase, card: Card, found: Found, sample: TabularModel, table: LargeTable
) -> TabularModel:
    """A model like that of a sample, which has learned all rows that are not held out.

    Args:
        found: a candidate that learns in Spark.
        sample: what it has learned from the sample: its encoders are kept.
    """
    [(candidate, params)] = found.learner.members
    [part] = sample.parts[:1]
    encode = _encoding(use_case, card, part.preparation)
    rows = table.rows.mapInArrow(encode, _ENCODED)
    workers = table.spark.sparkContext.defaultParallelism
    learning = Learning(
        card.task, len(card.labels), {**candidate.params, **params}, use_case.search.seed
    )
    fitted = FAMILIES[candidate.family].fit_distributed(rows, learning, workers)
    return TabularModel(card, (Part(1.0, candidate.family, part.preparation, fitted),))


def single(found: Found) -> Found:
    """A candidate without bags: each would be a training over all rows."""
    [(candidate, params)] = found.learner.members
    alone = candidate.model_copy(update={"bags": 1})
    return replace(found, learner=Learner(found.learner.name, ((alone, params),)))


def _encoding(
    use_case: UseCase, card: Card, preparation: Preparation
) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def encode(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            yield from _encoded(batch, use_case, card, preparation)

    return encode


def _encoded(
    batch: pa.RecordBatch, use_case: UseCase, card: Card, preparation: Preparation
) -> Iterator[pa.RecordBatch]:
    """The good rows of a batch that are not held out."""
    checked = check_training(pa.Table.from_batches([batch]), use_case, use_case.name)
    rows = checked.rows.filter(pa.array(~checked.bad))
    rows = rows.filter(pa.array(place_of(rows, use_case) >= use_case.split.held_out))
    if not rows.num_rows:
        return
    examples = examples_of(card, with_derived(rows, use_case.derived))
    x = preparation.encode(examples.features).astype(np.float32)
    y = np.log(examples.truth) if card.log else examples.truth
    known = np.isfinite(y)
    lists = pa.FixedSizeListArray.from_arrays(pa.array(x[known].ravel()), x.shape[1])
    columns = [lists.cast(pa.list_(pa.float32())), pa.array(y[known].astype(np.float32))]
    yield pa.RecordBatch.from_arrays(columns, names=["features", "label"])
