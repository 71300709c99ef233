"""The context of a training: the use case, its dataset, and the examples built from it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from scorestream.tabular.model.trained_model import ModelCard
from scorestream.tabular.training.config.use_case import UseCase
from scorestream.tabular.training.data.datasets import Dataset, Source, prepare_dataset
from scorestream.tabular.training.data.validation import find_label_type
from scorestream.tabular.training.metrics import Metric, metric_of
from scorestream.tabular.training.search.learning import Examples, build_card, build_examples


@dataclass(frozen=True)
class TrainingContext:
    """What every step of a training works with.

    Attributes:
        source: the raw rows, and where they came from.
        data: the good rows, and which of them are held out.
        card: the card of the model to be.
        examples: one per row of `data`.
    """

    use_case: UseCase
    source: Source
    data: Dataset
    card: ModelCard
    examples: Examples

    @classmethod
    def of(cls, use_case: UseCase, source: Source) -> TrainingContext:
        """Check, clean and split the rows of a source, and build their examples.

        Raises:
            InputError: a column is missing, or has a type that cannot be meant.
            TrainingError: they cannot be learned from.
        """
        data = prepare_dataset(use_case, source)
        card = build_card(use_case, data.rows, find_label_type(source.rows, use_case))
        examples = build_examples(card, data.rows, use_case.search.group)
        return cls(use_case, source, data, card, examples)

    @cached_property
    def training_examples(self) -> Examples:
        """The examples that candidates are trained on."""
        return self.examples.where(~self.data.held_out)

    @cached_property
    def held_out_examples(self) -> Examples:
        """The examples that the best candidate is evaluated on."""
        return self.examples.where(self.data.held_out)

    @property
    def metric(self) -> Metric:
        """The metric by which candidates, baselines and champions are compared."""
        return metric_of(self.use_case.task, self.use_case.search.metric)

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """That metric, then the guarded ones, by which a challenger must not lose."""
        guards = (metric_of(self.use_case.task, name) for name in self.use_case.guards)
        return (self.metric, *guards)

    @property
    def seed(self) -> int:
        """The seed of every random choice."""
        return self.use_case.search.seed
