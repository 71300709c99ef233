"""What a scorer declares, what it gives, and the protocol that a newcomer implements.

A scorer scores one category of a message (`dexes`, …): its transactions become features, features
become points, points become a score. Tables, messages, models and documents derive from what it
declares; how one is added: docs/scoring.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Numbers = Floats | Ints


@dataclass(frozen=True)
class Feature:
    """What a score is computed from.

    Attributes:
        meaning: for people, with its unit.
        type: float64, or int64 for what is counted.
    """

    name: str
    meaning: str
    type: pa.DataType = field(default_factory=pa.float64)


@dataclass(frozen=True)
class PartialScore:
    """A score of one kind of doing, which is the sum of its parts.

    Attributes:
        name: rows have it as `NAME_score`, and its parts as `breakdown.NAME`.
        meaning: for people.
        parts: name -> meaning, in points.
    """

    name: str
    meaning: str
    parts: Mapping[str, str]

    @property
    def column(self) -> str:
        """The column of its points."""
        return f"{self.name}_score"


class EntryType(NamedTuple):
    """Which entries of a message are decoded, and how.

    Attributes:
        category: their `protocolType`.
        transaction: what each of their transactions is; None: of `dexes`, which the core knows.
    """

    category: str
    transaction: type[msgspec.Struct] | None = None


@dataclass(frozen=True)
class Declaration:
    """What a scorer is.

    Attributes:
        name: for instance ``dex-v1``; of its constants' file, too.
        category: of the entries of a message that it scores: their `protocolType`.
        features: in the order of rows and messages.
        partial_scores: in the order of rows and messages.
        transaction: what a transaction of the category is, with a `timestamp`: see
            `core/entries.py`. None for `dexes`.
    """

    name: str
    category: str
    features: tuple[Feature, ...]
    partial_scores: tuple[PartialScore, ...]
    transaction: type[msgspec.Struct] | None = None

    @property
    def entry_type(self) -> EntryType:
        """The entries that it scores."""
        return EntryType(self.category, self.transaction)


@dataclass(frozen=True)
class WalletScores:
    """Scores of the n wallets of a batch, with what explains them.

    Attributes:
        final: n points; a wallet whose score, or anything that explains it, is not finite has
            none.
        partial: name of a partial score -> n points.
        parts: name of a partial score -> name of a part -> n points.
        features: name -> n numbers.
        tags: n lists of labels.
    """

    final: Floats
    partial: Mapping[str, Floats]
    parts: Mapping[str, Mapping[str, Numbers]]
    features: Mapping[str, Numbers]
    tags: pa.ListArray


class Scorer(Protocol):
    """What scores a category: a function of (transactions, as_of) and its constants."""

    @property
    def declaration(self) -> Declaration:
        """What it is."""
        ...

    @property
    def config_hash(self) -> str:
        """Hash of all constants, as scores carry it."""
        ...

    def score(self, rows: pa.Table, as_of: Ints) -> WalletScores:
        """Score the n wallets of a batch, at least one.

        Args:
            rows: `MODEL_ROWS` or more, of another category than `dexes` the fields of its
                transactions; `message` ascending from 0 to n - 1, every wallet with at least one
                row.
            as_of: int64[n], unix seconds.
        """
        ...


def union_of_features(declarations: Iterable[Declaration]) -> tuple[Feature, ...]:
    """All features by name, in the order in which they are first declared.

    Raises:
        ValueError: two have the same name and other types.
    """
    union: dict[str, Feature] = {}
    for declaration in declarations:
        for feature in declaration.features:
            known = union.setdefault(feature.name, feature)
            if known.type != feature.type:
                raise ValueError(
                    f"the feature {feature.name} of {declaration.name} is {feature.type}, of "
                    f"another scorer {known.type}: give it another name"
                )
    return tuple(union.values())


def union_of_partial_scores(declarations: Iterable[Declaration]) -> tuple[PartialScore, ...]:
    """All partial scores by name, each with all parts that it has in any declaration."""
    union: dict[str, PartialScore] = {}
    for declaration in declarations:
        for each in declaration.partial_scores:
            known = union.get(each.name, each)
            union[each.name] = PartialScore(each.name, known.meaning, {**known.parts, **each.parts})
    return tuple(union.values())
