"""What a training is about: a use case, its rows, and what there is to learn from them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from scorestream.tabular.model.trained_model import Card
from scorestream.tabular.training.config.use_case import UseCase
from scorestream.tabular.training.data.datasets import Dataset, Source, prepared
from scorestream.tabular.training.data.validation import label_type
from scorestream.tabular.training.metrics import Metric, metric_of
from scorestream.tabular.training.search.learning import Examples, card_of, examples_of


@dataclass(frozen=True)
class Training:
    """A use case and its rows.

    Attributes:
        source: raw rows, and where they came from.
        data: those that can be learned from, and which of them are held out.
        card: what the model will say of itself.
        examples: of all rows of `data`.
    """

    use_case: UseCase
    source: Source
    data: Dataset
    card: Card
    examples: Examples

    @classmethod
    def of(cls, use_case: UseCase, source: Source) -> Training:
        """Rows read, checked and split.

        Raises:
            InputError: a column is missing, or has a type that cannot be meant.
            TrainingError: they cannot be learned from.
        """
        data = prepared(use_case, source)
        card = card_of(use_case, data.rows, label_type(source.rows, use_case))
        examples = examples_of(card, data.rows, use_case.search.group)
        return cls(use_case, source, data, card, examples)

    @cached_property
    def learned(self) -> Examples:
        """The examples that candidates learn from."""
        return self.examples.where(~self.data.held_out)

    @cached_property
    def held(self) -> Examples:
        """The examples that the best candidate is judged by."""
        return self.examples.where(self.data.held_out)

    @property
    def metric(self) -> Metric:
        """By which candidates, baselines and champions are compared."""
        return metric_of(self.use_case.task, self.use_case.search.metric)

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """That one, and those by which a challenger must not lose."""
        guards = (metric_of(self.use_case.task, name) for name in self.use_case.guards)
        return (self.metric, *guards)

    @property
    def seed(self) -> int:
        """Of all that is random."""
        return self.use_case.search.seed
