"""More rows than one process holds: searched on a sample, learned in Spark from all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

import numpy as np
import pyarrow as pa
import structlog

from scorestream.tabular.model.derived_features import with_derived
from scorestream.tabular.model.families import FAMILIES, Learning
from scorestream.tabular.model.preprocessing import Preparation
from scorestream.tabular.model.trained_model import Card, Part, TabularModel
from scorestream.tabular.training.config.use_case import UseCase
from scorestream.tabular.training.data.large_table import LargeTable
from scorestream.tabular.training.data.splitting import place_of
from scorestream.tabular.training.data.validation import check_training
from scorestream.tabular.training.search.hyperparameters import Found
from scorestream.tabular.training.search.learning import Learner, examples_of

log = structlog.get_logger()

_ENCODED: Final = "features array<float>, label float"


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
    return TabularModel(sample.card, (Part(1.0, candidate.family, part.preparation, fitted),))


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
