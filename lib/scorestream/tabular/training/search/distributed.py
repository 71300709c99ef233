"""Training on more rows than one process holds: search on a sample, train in Spark on all rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

import numpy as np
import pyarrow as pa
import structlog

from scorestream.tabular.model.derived_features import add_derived_features
from scorestream.tabular.model.families import FAMILIES, FitOptions
from scorestream.tabular.model.preprocessing import Preparation
from scorestream.tabular.model.trained_model import ModelCard, Part, TabularModel
from scorestream.tabular.training.config.use_case import UseCase
from scorestream.tabular.training.data.large_table import LargeTable
from scorestream.tabular.training.data.splitting import split_position
from scorestream.tabular.training.data.validation import check_training
from scorestream.tabular.training.search.hyperparameters import SearchResult
from scorestream.tabular.training.search.learning import Learner, build_examples

log = structlog.get_logger()

_ENCODED: Final = "features array<float>, label float"


def train_in_spark(
    use_case: UseCase,
    card: ModelCard,
    result: SearchResult,
    sample: TabularModel,
    *,
    table: LargeTable,
) -> TabularModel:
    """Train a candidate in Spark on all rows that are not held out.

    Args:
        result: a candidate whose family can train in Spark.
        sample: its model of the sample, whose encoders are used.
    """
    [(candidate, params)] = result.learner.members
    [part] = sample.parts[:1]
    encode = _batch_encoder(use_case, card, part.preparation)
    rows = table.rows.mapInArrow(encode, _ENCODED)
    workers = table.spark.sparkContext.defaultParallelism
    options = FitOptions(
        card.task, len(card.labels), {**candidate.params, **params}, use_case.search.seed
    )
    fitted = FAMILIES[candidate.family].fit_distributed(rows, options, workers)
    return TabularModel(sample.card, (Part(1.0, candidate.family, part.preparation, fitted),))


def without_bags(result: SearchResult) -> SearchResult:
    """The candidate with one bag: each bag would be a training over all rows."""
    [(candidate, params)] = result.learner.members
    alone = candidate.model_copy(update={"bags": 1})
    return replace(result, learner=Learner(result.learner.name, ((alone, params),)))


def _batch_encoder(
    use_case: UseCase, card: ModelCard, preparation: Preparation
) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def encode(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            yield from _encode_batch(batch, use_case, card, preparation)

    return encode


def _encode_batch(
    batch: pa.RecordBatch, use_case: UseCase, card: ModelCard, preparation: Preparation
) -> Iterator[pa.RecordBatch]:
    """Encode the good rows of a batch that are not held out."""
    checked = check_training(pa.Table.from_batches([batch]), use_case, use_case.name)
    rows = checked.rows.filter(pa.array(~checked.bad))
    rows = rows.filter(pa.array(split_position(rows, use_case) >= use_case.split.held_out))
    if not rows.num_rows:
        return
    examples = build_examples(card, add_derived_features(rows, use_case.derived))
    x = preparation.encode(examples.features).astype(np.float32)
    y = np.log(examples.truth) if card.log else examples.truth
    known = np.isfinite(y)
    lists = pa.FixedSizeListArray.from_arrays(pa.array(x[known].ravel()), x.shape[1])
    columns = [lists.cast(pa.list_(pa.float32())), pa.array(y[known].astype(np.float32))]
    yield pa.RecordBatch.from_arrays(columns, names=["features", "label"])
